//! Walking along paths of fields such as `spec/template/metadata/labels`; lists on the way stand for each of their items.

use serde_json::{Value, json};

/// Kinds that make pods from a template, and where the template is.
pub(super) fn template(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" | "Job" => {
            "spec/template"
        }
        "CronJob" => "spec/jobTemplate/spec/template",
        _ => return None,
    })
}

/// Where a kind keeps the spec of its pods.
pub(super) fn pod_spec(kind: &str) -> Option<String> {
    if kind == "Pod" { Some("spec".to_owned()) } else { template(kind).map(|path| format!("{path}/spec")) }
}

/// Calls `change` for every value at the path. With `create`, maps that are missing are made on the way.
pub(super) fn visit(value: &mut Value, path: &str, create: bool, change: &mut dyn FnMut(&mut Value)) {
    if let Value::Array(items) = value {
        items.iter_mut().for_each(|item| visit(item, path, create, change));
        return;
    }
    if path.is_empty() {
        return change(value);
    }
    let (step, rest) = path.split_once('/').unwrap_or((path, ""));
    let Some(map) = value.as_object_mut() else { return };
    if create && map.get(step).is_none_or(Value::is_null) {
        map.insert(step.to_owned(), json!({}));
    }
    let Some(inner) = map.get_mut(step) else { return };
    if rest.is_empty() { change(inner) } else { visit(inner, rest, create, change) }
}

/// Calls `change` for every container of an object, wherever it is.
pub(super) fn containers(value: &mut Value, depth: usize, change: &mut dyn FnMut(&mut Value)) {
    if depth > 64 {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if key == "containers" || key == "initContainers" {
                    inner.as_array_mut().into_iter().flatten().for_each(&mut *change);
                }
                containers(inner, depth + 1, change);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| containers(item, depth + 1, change)),
        _ => {}
    }
}
