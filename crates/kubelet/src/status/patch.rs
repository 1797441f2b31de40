//! The patch that brings a pod's status at the API to what the kubelet knows. Pure.
//!
//! A strategic merge patch that names only what the kubelet owns: conditions of others stay, and no write of theirs
//! can conflict with ours.

use super::conditions::is_own;
use api::Object;
use api::k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};

/// Fields of the status that the kubelet writes; one that it leaves out is removed.
const FIELDS: &[&str] = &[
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "qosClass",
    "observedGeneration",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
];

fn status_json(status: &PodStatus) -> Map<String, Value> {
    let pod = Pod { status: Some(status.clone()), ..Pod::default() };
    let parsed: Value = serde_json::from_slice(&pod.to_json()).unwrap_or_default();
    match parsed.get("status") {
        Some(Value::Object(fields)) => fields.clone(),
        _ => Map::new(),
    }
}

/// Lists that the API merges by key are replaced as a whole.
fn replacing(list: Value) -> Value {
    match list {
        Value::Array(mut items) => {
            items.insert(0, json!({"$patch": "replace"}));
            Value::Array(items)
        }
        other => other,
    }
}

/// Whether a condition is the kubelet's.
fn is_mine(condition: &Value) -> bool {
    let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
    is_own(text("type"), text("reason"))
}

fn kind(condition: &Value) -> &str {
    condition.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The body of the patch; with `uid`, it is for that object only.
pub(crate) fn build(uid: Option<&str>, old: Option<&PodStatus>, new: &PodStatus) -> Vec<u8> {
    let old = old.map(status_json).unwrap_or_default();
    let mut new = status_json(new);
    let mut status = Map::new();
    for field in FIELDS {
        let value = match (new.remove(*field), old.contains_key(*field)) {
            (Some(value), _) => value,
            (None, true) => Value::Null,
            (None, false) => continue,
        };
        let value = if matches!(*field, "hostIPs" | "podIPs") { replacing(value) } else { value };
        status.insert((*field).to_owned(), value);
    }
    if let Some(Value::Array(conditions)) = new.remove("conditions") {
        let mut mine: Vec<Value> = conditions.into_iter().filter(is_mine).collect();
        for condition in &mut mine {
            // A merge keeps what is not named.
            for key in ["reason", "message"] {
                if let Some(fields) = condition.as_object_mut() {
                    fields.entry(key).or_insert(Value::Null);
                }
            }
        }
        let before = old.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let gone = before.iter().filter(|old| is_mine(old) && !mine.iter().any(|c| kind(c) == kind(old)));
        let gone: Vec<Value> = gone.map(|c| json!({"type": kind(c), "$patch": "delete"})).collect();
        mine.extend(gone);
        status.insert("conditions".to_owned(), Value::Array(mine));
    }
    let metadata = uid.map_or_else(|| json!({}), |uid| json!({"uid": uid}));
    json!({"metadata": metadata, "status": status}).to_string().into_bytes()
}

/// Whether the API already shows what the kubelet would write.
pub(crate) fn same(old: &PodStatus, new: &PodStatus) -> bool {
    let (old, new) = (status_json(old), status_json(new));
    let own_conditions = |fields: &Map<String, Value>| -> Vec<Value> {
        let all = fields.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut own: Vec<Value> = all
            .into_iter()
            .filter(is_mine)
            .map(|mut c| {
                if let Some(fields) = c.as_object_mut() {
                    fields.retain(|_, value| !value.is_null());
                }
                c
            })
            .collect();
        own.sort_by_key(|c| c.get("type").and_then(Value::as_str).unwrap_or_default().to_owned());
        own
    };
    FIELDS.iter().all(|field| old.get(*field) == new.get(*field))
        && own_conditions(&old) == own_conditions(&new)
}
