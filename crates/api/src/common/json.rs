//! How messages print values: as JSON, the way upstream's validation prints structures.

use serde_json::Value;
use std::collections::BTreeMap;

/// A map of strings.
pub fn map(map: &Option<BTreeMap<String, String>>) -> Value {
    match map {
        Some(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect()),
        None => Value::Null,
    }
}

/// A list of strings.
pub fn list(list: &[String]) -> Value {
    Value::Array(list.iter().map(|v| Value::String(v.clone())).collect())
}
