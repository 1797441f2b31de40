//! What is wrong with a definition.

use super::{expected_name, is_established, schema};
use crate::common::{items, names, text};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::*;
use machinery::{FieldErrors, FieldPath};
use serde_json::json;
use std::collections::BTreeSet;

const APPROVED: &str = "api-approved.kubernetes.io";

pub(super) fn create(crd: &CustomResourceDefinition, errors: &mut FieldErrors) {
    let name = text(&crd.metadata.name);
    if name != expected_name(crd) {
        let at = FieldPath::new("metadata").child("name");
        errors.invalid(at, name, "must be spec.names.plural+\".\"+spec.group");
    }
    protected_group(crd, errors);
    let (spec, path) = (&crd.spec, FieldPath::new("spec"));
    let at = path.child("group");
    if spec.group.is_empty() {
        errors.required(at, "");
    } else {
        let messages = names::dns1123_subdomain(&spec.group);
        if messages.is_empty() {
            if !spec.group.contains('.') {
                errors.invalid(at, &spec.group, "should be a domain with at least one dot");
            }
        } else {
            errors.invalid(at, &spec.group, messages.join(","));
        }
    }
    let at = path.child("scope");
    match spec.scope.as_str() {
        "" => errors.required(at, ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported(at, other, &["Cluster", "Namespaced"]),
    }
    if spec.preserve_unknown_fields == Some(true) {
        errors.invalid(
            path.child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    versions(spec, &path.child("versions"), errors);
    validate_names(&spec.names, &path.child("names"), errors);
    if let Some(conversion) = &spec.conversion {
        validate_conversion(conversion, &path.child("conversion"), errors);
    }
}

/// Groups of the project itself are taken only with an approval.
fn protected_group(crd: &CustomResourceDefinition, errors: &mut FieldErrors) {
    let group = &crd.spec.group;
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')));
    let approval = crd.metadata.annotations.as_ref().and_then(|annotations| annotations.get(APPROVED));
    if protected && approval.is_none_or(String::is_empty) {
        errors.required(
            FieldPath::new("metadata").child("annotations").key(APPROVED),
            format!(
                "protected groups must have approval annotation \"{APPROVED}\", see \
                 https://github.com/kubernetes/enhancements/pull/1111"
            ),
        );
    }
}

fn versions(spec: &CustomResourceDefinitionSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if spec.versions.is_empty() {
        errors.required(path.clone(), "must have at least one version");
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, version) in spec.versions.iter().enumerate() {
        let at = path.index(at);
        let messages = names::dns1035_label(&version.name);
        if !messages.is_empty() {
            errors.invalid(at.child("name"), &version.name, messages.join(","));
        }
        if !seen.insert(&version.name) {
            errors.invalid(path.clone(), json!(version.name), "must contain unique version names");
        }
        validate_version(version, &at, errors);
    }
    if spec.versions.iter().filter(|version| version.storage).count() != 1 {
        let listed: Vec<&String> = spec.versions.iter().map(|version| &version.name).collect();
        errors.invalid(
            path.clone(),
            json!(listed),
            "must have exactly one version marked as storage version",
        );
    }
}

fn validate_version(version: &CustomResourceDefinitionVersion, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("schema").child("openAPIV3Schema");
    match version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) {
        None => errors.required(at, "schemas are required"),
        Some(root) => schema::validate(root, &at, errors),
    }
    if version.deprecation_warning.is_some() && version.deprecated != Some(true) {
        let warning = text(&version.deprecation_warning);
        errors.invalid(path.child("deprecationWarning"), warning, "can only be set for deprecated versions");
    }
    for (at, column) in items(&version.additional_printer_columns).iter().enumerate() {
        let at = path.child("additionalPrinterColumns").index(at);
        const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
        if column.name.is_empty() {
            errors.required(at.child("name"), "");
        }
        match column.type_.as_str() {
            "" => errors.required(at.child("type"), "must be one of boolean,date,integer,number,string"),
            kind if !TYPES.contains(&kind) => {
                errors.invalid(at.child("type"), kind, "must be one of boolean,date,integer,number,string")
            }
            _ => {}
        }
        if column.json_path.is_empty() {
            errors.required(at.child("jsonPath"), "");
        }
    }
    let Some(subresources) = &version.subresources else { return };
    if let Some(scale) = &subresources.scale {
        let at = path.child("subresources").child("scale");
        for (field, value, root) in [
            ("specReplicasPath", &scale.spec_replicas_path, ".spec"),
            ("statusReplicasPath", &scale.status_replicas_path, ".status"),
        ] {
            if value.is_empty() {
                errors.required(at.child(field), "");
            } else if !value.starts_with(&format!("{root}.")) {
                errors.invalid(at.child(field), value, format!("should be a json path under {root}"));
            }
        }
    }
}

fn validate_names(names: &CustomResourceDefinitionNames, path: &FieldPath, errors: &mut FieldErrors) {
    if names.plural.is_empty() {
        errors.required(path.child("plural"), "");
    }
    if text(&names.singular).is_empty() {
        errors.required(path.child("singular"), "");
    }
    if names.kind.is_empty() {
        errors.required(path.child("kind"), "");
    }
    if text(&names.list_kind).is_empty() {
        errors.required(path.child("listKind"), "");
    }
    for (field, value) in [("plural", names.plural.as_str()), ("singular", text(&names.singular))] {
        label(value, path.child(field), errors);
    }
    for (field, value) in [("kind", names.kind.as_str()), ("listKind", text(&names.list_kind))] {
        let messages = names::dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !messages.is_empty() {
            errors.invalid(
                path.child(field),
                value,
                format!("may have mixed case, but should otherwise match: {}", messages.join(",")),
            );
        }
    }
    for (at, value) in items(&names.short_names).iter().enumerate() {
        label(value, path.child("shortNames").index(at), errors);
    }
    for (at, value) in items(&names.categories).iter().enumerate() {
        label(value, path.child("categories").index(at), errors);
    }
    if !names.kind.is_empty() && names.kind == text(&names.list_kind) {
        errors.invalid(path.child("listKind"), &names.kind, "kind and listKind may not be the same");
    }
}

fn label(value: &str, path: FieldPath, errors: &mut FieldErrors) {
    let messages = names::dns1035_label(value);
    if !value.is_empty() && !messages.is_empty() {
        errors.invalid(path, value, messages.join(","));
    }
}

fn validate_conversion(conversion: &CustomResourceConversion, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("webhook");
    match (conversion.strategy.as_str(), &conversion.webhook) {
        ("", _) => errors.required(path.child("strategy"), ""),
        ("None", None) => {}
        ("None", Some(_)) => {
            errors.forbidden(at, "should not be set when strategy is not set to Webhook");
        }
        ("Webhook", None) => {
            errors.required(at.child("clientConfig"), "required when strategy is set to Webhook")
        }
        ("Webhook", Some(webhook)) => {
            let versions = &webhook.conversion_review_versions;
            let versions_at = at.child("conversionReviewVersions");
            if versions.is_empty() {
                errors.required(versions_at, "");
            } else if !versions.iter().any(|version| ["v1", "v1beta1"].contains(&version.as_str())) {
                errors.invalid(versions_at, json!(versions), "must include at least one of v1, v1beta1");
            }
            let at = at.child("clientConfig");
            match webhook.client_config.as_ref().map(|client| (&client.url, &client.service)) {
                None => errors.required(at, "required when strategy is set to Webhook"),
                Some((Some(_), None) | (None, Some(_))) => {}
                Some(_) => errors.required(at, "exactly one of url or service is required"),
            }
        }
        (other, _) => errors.not_supported(path.child("strategy"), other, &["None", "Webhook"]),
    }
}

pub(super) fn update(
    crd: &CustomResourceDefinition,
    old: &CustomResourceDefinition,
    errors: &mut FieldErrors,
) {
    let path = FieldPath::new("spec");
    let mut same = |at: FieldPath, new: &str, was: &str| errors.immutable(at, &new, &was, new);
    if is_established(old) {
        same(path.child("scope"), &crd.spec.scope, &old.spec.scope);
        same(path.child("names").child("kind"), &crd.spec.names.kind, &old.spec.names.kind);
    }
    same(path.child("group"), &crd.spec.group, &old.spec.group);
    same(path.child("names").child("plural"), &crd.spec.names.plural, &old.spec.names.plural);
    let stored = crd.status.as_ref().map(|status| items(&status.stored_versions)).unwrap_or_default();
    for (at, version) in stored.iter().enumerate() {
        if !crd.spec.versions.iter().any(|v| v.name == *version) {
            errors.invalid(
                FieldPath::new("status").child("storedVersions").index(at),
                version,
                format!(
                    "missing from spec.versions; {version} was previously a storage version, and must remain in \
                     spec.versions until a storage migration ensures no data remains persisted in {version} and \
                     removes {version} from status.storedVersions"
                ),
            );
        }
    }
}
