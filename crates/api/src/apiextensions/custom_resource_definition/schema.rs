//! Structural schemas: every field has one type, said outside of `allOf` and its kin.
//!
//! Source: documentation, "Specifying a structural schema". Deliberately absent: CEL rules, which the API
//! server compiles.

use crate::common::items;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use machinery::{FieldErrors, FieldPath};
use serde_json::json;

/// Deepest nesting that is looked at.
const MAX_DEPTH: usize = 64;
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// Reports what is wrong with the schema of a version.
pub(super) fn validate(root: &JSONSchemaProps, path: &FieldPath, errors: &mut FieldErrors) {
    match root.type_.as_deref().unwrap_or_default() {
        "" => errors.required(path.child("type"), "must not be empty at the root"),
        "object" => {}
        other => errors.invalid(path.child("type"), other, "must be object at the root"),
    }
    if root.nullable == Some(true) {
        errors.forbidden(path.child("nullable"), "nullable cannot be true at the root");
    }
    fields(root, path, 0, errors);
}

/// Checks a schema's own keywords and its children.
fn fields(schema: &JSONSchemaProps, path: &FieldPath, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        errors.forbidden(path.clone(), format!("must not be nested more than {MAX_DEPTH} levels"));
        return;
    }
    let kind = schema.type_.as_deref().unwrap_or_default();
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, TYPES);
    }
    forbidden(schema, path, errors);
    let children = schema.properties.as_ref().is_some_and(|properties| !properties.is_empty());
    for (name, child) in schema.properties.iter().flatten() {
        child_of(child, &path.child("properties").key(name), "specified object fields", depth, errors);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(child)) = &schema.additional_properties {
        if children {
            errors.forbidden(
                path.child("additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            );
        }
        child_of(child, &path.child("additionalProperties"), "specified object fields", depth, errors);
    }
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(child)) => {
            child_of(child, &path.child("items"), "specified array items", depth, errors);
        }
        Some(JSONSchemaPropsOrArray::Schemas(_)) => {
            errors.forbidden(path.child("items"), "items must be a schema object and not an array");
        }
        None if kind == "array" => errors.required(path.child("items"), "must be specified"),
        None => {}
    }
    list(schema, path, errors);
}

fn child_of(child: &JSONSchemaProps, path: &FieldPath, whose: &str, depth: usize, errors: &mut FieldErrors) {
    let free = child.x_kubernetes_int_or_string == Some(true)
        || child.x_kubernetes_preserve_unknown_fields == Some(true);
    if child.type_.as_deref().unwrap_or_default().is_empty() && !free {
        errors.required(path.child("type"), format!("must not be empty for {whose}"));
    }
    fields(child, path, depth + 1, errors);
}

fn forbidden(schema: &JSONSchemaProps, path: &FieldPath, errors: &mut FieldErrors) {
    for (field, set, why) in [
        ("$ref", schema.ref_path.is_some(), "$ref is not supported"),
        ("id", schema.id.is_some(), "id is not supported"),
        ("definitions", schema.definitions.is_some(), "definitions is not supported"),
        ("dependencies", schema.dependencies.is_some(), "dependencies is not supported"),
        ("patternProperties", schema.pattern_properties.is_some(), "patternProperties is not supported"),
        ("additionalItems", schema.additional_items.is_some(), "additionalItems is not supported"),
        (
            "uniqueItems",
            schema.unique_items == Some(true),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
    ] {
        if set {
            errors.forbidden(path.child(field), why);
        }
    }
    if let Some(JSONSchemaPropsOrBool::Bool(false)) = schema.additional_properties {
        errors.forbidden(path.child("additionalProperties"), "additionalProperties cannot be set to false");
    }
    // Names of types are said once, outside of logical combinations.
    let junctors = [("allOf", &schema.all_of), ("anyOf", &schema.any_of), ("oneOf", &schema.one_of)];
    if schema.x_kubernetes_int_or_string == Some(true) {
        return;
    }
    for (field, list) in junctors {
        for (at, inner) in items(list).iter().enumerate() {
            if inner.type_.is_some() {
                errors.forbidden(path.child(field).index(at).child("type"), "must be empty to be structural");
            }
        }
    }
}

fn list(schema: &JSONSchemaProps, path: &FieldPath, errors: &mut FieldErrors) {
    const KINDS: &[&str] = &["atomic", "map", "set"];
    let keys = items(&schema.x_kubernetes_list_map_keys);
    let kind = schema.x_kubernetes_list_type.as_deref();
    if let Some(kind) = kind {
        if !KINDS.contains(&kind) {
            errors.not_supported(path.child("x-kubernetes-list-type"), kind, KINDS);
        }
        if schema.type_.as_deref() != Some("array") {
            errors.invalid(
                path.child("type"),
                schema.type_.clone().unwrap_or_default(),
                "must be array if x-kubernetes-list-type is specified",
            );
        }
    }
    match (kind, keys.is_empty()) {
        (Some("map"), true) => errors.required(
            path.child("x-kubernetes-list-map-keys"),
            "must not be empty if x-kubernetes-list-type is map",
        ),
        (Some("map"), false) | (_, true) => {}
        (_, false) => errors.invalid(
            path.child("x-kubernetes-list-type"),
            json!(kind),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ),
    }
}
