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
    json!({"type": "object", "properties": {
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
