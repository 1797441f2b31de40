//! Structural schemas of custom resources (`openAPIV3Schema`) as [`machinery::schema::Schema`].

use machinery::schema::{Field, ListKey, ListKind, PatchStrategy, Schema, Shape};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A custom resource's schema. Fields without one, and trees marked with
/// `x-kubernetes-preserve-unknown-fields`, are read off the values.
#[derive(Clone, Copy, Debug)]
pub struct Structural<'a>(pub &'a Value);

impl<'a> Structural<'a> {
    /// The type of the whole object.
    pub fn root(self) -> &'a Value {
        self.0
    }
}

/// `metadata` is typed like that of built-in kinds, whatever the schema says about it.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let strings = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "labels": strings(),
        "annotations": strings(),
        "finalizers": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {"type": "object", "x-kubernetes-map-type": "atomic"},
        },
    }})
});

fn text<'v>(schema: &'v Value, name: &str) -> &'v str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl<'a> Schema for Structural<'a> {
    type Type = &'a Value;

    fn shape(&self, ty: &'a Value) -> Shape<'_, &'a Value> {
        let atomic = text(ty, "x-kubernetes-map-type") == "atomic";
        match text(ty, "type") {
            "object" => match ty.get("additionalProperties") {
                Some(element @ Value::Object(_)) => Shape::Map { element, atomic },
                _ if ty.get("properties").is_none() && !atomic && is_open(ty) => Shape::Deduced,
                _ => Shape::Struct { atomic },
            },
            "array" => {
                let element = ty.get("items").unwrap_or(&Value::Null);
                let kind = match text(ty, "x-kubernetes-list-type") {
                    "set" => ListKind::Set,
                    "map" => ListKind::Map(keys(ty, element)),
                    _ => ListKind::Atomic,
                };
                Shape::List { element, kind }
            }
            "" => Shape::Deduced,
            _ => Shape::Scalar,
        }
    }

    fn field(&self, ty: &'a Value, name: &str) -> Option<Field<'_, &'a Value>> {
        let ty = if name == "metadata" && std::ptr::eq(ty, self.0) {
            &*METADATA
        } else {
            match ty.get("properties").and_then(|properties| properties.get(name)) {
                Some(ty) => ty,
                None if is_open(ty)
                    || (std::ptr::eq(ty, self.0) && ["apiVersion", "kind"].contains(&name)) =>
                {
                    &Value::Null
                }
                None => return None,
            }
        };
        Some(Field { ty, patch: PatchStrategy::default(), always: false })
    }
}

fn is_open(ty: &Value) -> bool {
    ty.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn keys<'v>(list: &'v Value, element: &'v Value) -> Vec<ListKey<'v>> {
    let names = list.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|name| ListKey {
            name,
            default: element.get("properties").and_then(|p| p.get(name)).and_then(|p| p.get("default")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::apply::{self, FieldSet, Write};

    #[test]
    fn custom_resources_apply_by_their_schema() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                    "items": {"type": "object", "properties": {"port": {"type": "integer", "default": 80},
                        "host": {"type": "string"}, "path": {"type": "string"}}}},
                "args": {"type": "array", "items": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }},
        }});
        let reset = FieldSet::new();
        let write =
            |manager| Write { manager, api_version: "a.b/v1", subresource: "", time: "t", reset: &reset };
        let schema = Structural(&schema);
        let object = |spec: Value| json!({"apiVersion": "a.b/v1", "kind": "W", "metadata": {"name": "w", "labels": {"a": "b"}}, "spec": spec});
        let apply = |live: Option<&Value>, spec: Value, manager| {
            apply::apply(&schema, schema.root(), live, &object(spec), &write(manager), false)
        };
        let one =
            apply(None, json!({"rules": [{"host": "x"}], "args": ["1"], "free": {"any": 1}}), "me").unwrap();
        assert_eq!(
            one["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:args": {},
                "f:free": {"f:any": {}}, "f:rules": {"k:{\"port\":80}": {".": {}, "f:host": {}}}}})
        );
        let two =
            apply(Some(&one), json!({"rules": [{"port": 80, "path": "/"}, {"port": 81}]}), "you").unwrap();
        assert_eq!(two["spec"]["rules"], json!([{"host": "x", "port": 80, "path": "/"}, {"port": 81}]));
        let error = apply(Some(&two), json!({"args": ["2"]}), "you").unwrap_err();
        assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"me\": .spec.args");
        let error = apply(Some(&two), json!({"arg": []}), "you").unwrap_err();
        assert!(error.message.ends_with("(w; a.b/v1, Kind=W): .spec.arg: field not declared in schema"));
    }
}
