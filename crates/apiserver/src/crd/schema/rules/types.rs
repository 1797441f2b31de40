//! From a structural schema to the types that rules are checked with, and the sizes that costs are judged by.
//!
//! Source: "Validation rules" of the CustomResourceDefinition documentation (types, defaults of sizes). Unbounded
//! texts, lists and maps are as large as a request may be.

use cel::{FieldTable, ListKind, ListType, MapType, Type};
use serde_json::Value;
use std::sync::Arc;

/// Bytes of the largest request.
pub(super) const MAX_REQUEST: u64 = 3 * 1024 * 1024;
/// Levels of nesting that are typed; deeper ones have no type.
const MAX_DEPTH: usize = 64;

/// A type and the least bytes that a value takes in JSON.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) ty: Type,
    pub(super) least: u64,
}

pub(super) fn text<'v>(schema: &'v Value, key: &str) -> &'v str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn count(schema: &Value, key: &str) -> Option<u64> {
    let found = schema.get(key)?;
    found.as_u64().or_else(|| found.as_i64().map(|_| 0))
}

pub(super) fn list_keys(schema: &Value) -> Vec<String> {
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The type of a schema; `None` for what rules cannot see.
pub(super) fn typed(schema: &Value, root: bool, depth: usize) -> Option<Typed> {
    if depth > MAX_DEPTH {
        return None;
    }
    if flag(schema, "x-kubernetes-int-or-string") {
        return Some(Typed { ty: Type::IntOrString, least: 1 });
    }
    let plain = |ty, least| Some(Typed { ty, least });
    match text(schema, "type") {
        "boolean" => plain(Type::Bool, 4),
        "integer" => plain(Type::Int, 1),
        "number" => plain(Type::Double, 1),
        "string" => string(schema),
        "array" => {
            let items = schema.get("items")?;
            let element = typed(items, flag(items, "x-kubernetes-embedded-resource"), depth + 1)?;
            let max = count(schema, "maxItems").unwrap_or((MAX_REQUEST - 2) / (element.least + 1));
            let kind = match text(schema, "x-kubernetes-list-type") {
                "set" => ListKind::Set,
                "map" => ListKind::Map(list_keys(schema)),
                _ => ListKind::Atomic,
            };
            plain(Type::List(Arc::new(ListType { element: element.ty, max: Some(max), kind })), 2)
        }
        "object" => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) if !root => {
                let value = typed(values, flag(values, "x-kubernetes-embedded-resource"), depth + 1)?;
                let max = count(schema, "maxProperties").unwrap_or((MAX_REQUEST - 2) / (value.least + 6));
                let key = Type::String(Some(MAX_REQUEST - 2));
                plain(Type::Map(Arc::new(MapType { key, value: value.ty, max: Some(max) })), 2)
            }
            _ => Some(object(schema, root, depth)),
        },
        _ => None,
    }
}

fn string(schema: &Value) -> Option<Typed> {
    let longest = MAX_REQUEST - 2;
    let bound = count(schema, "maxLength");
    let (ty, least) = match text(schema, "format") {
        "byte" => (Type::Bytes(Some(bound.unwrap_or(longest))), 2),
        "duration" => (Type::Duration, 4),
        "date" | "date-time" | "datetime" => (Type::Timestamp, 12),
        _ => {
            let listed = schema.get("enum").and_then(Value::as_array).filter(|all| !all.is_empty());
            let listed = listed
                .map(|all| all.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0) as u64);
            // A code point takes up to four bytes.
            let max = bound.map(|max| max.saturating_mul(4)).or(listed).unwrap_or(longest);
            (Type::String(Some(max)), 2)
        }
    };
    Some(Typed { ty, least })
}

fn object(schema: &Value, root: bool, depth: usize) -> Typed {
    let none = serde_json::Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields = Vec::with_capacity(properties.len());
    let mut least = 2;
    for (name, property) in properties {
        if root && name == "metadata" {
            continue;
        }
        let embedded = flag(property, "x-kubernetes-embedded-resource");
        let Some(found) = typed(property, embedded, depth + 1) else { continue };
        if required.contains(&name.as_str()) && property.get("default").is_none() {
            least += name.len() as u64 + found.least + 4;
        }
        fields.push((name.clone(), found.ty));
    }
    if root {
        let string = || Type::String(Some(MAX_REQUEST - 2));
        let meta = [("name".to_owned(), string()), ("generateName".to_owned(), string())];
        for name in ["apiVersion", "kind"] {
            if !properties.contains_key(name) {
                fields.push((name.to_owned(), string()));
            }
        }
        fields.push(("metadata".to_owned(), FieldTable::object("metadata", meta)));
    }
    Typed { ty: FieldTable::object("object", fields), least }
}
