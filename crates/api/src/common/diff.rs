//! What differs between two specs, as messages show it: one line per value removed or added.

use crate::Object;
use serde_json::Value;

/// The differences of two objects' `spec`, under the heading `name`.
pub fn specs(name: &str, old: &dyn Object, new: &dyn Object) -> String {
    let spec = |object: &dyn Object| -> Value {
        let object: Value = serde_json::from_slice(&object.to_json()).unwrap_or_default();
        object.get("spec").cloned().unwrap_or_default()
    };
    let mut lines = vec![format!("  {name}{{")];
    diff("", &spec(old), &spec(new), &mut lines);
    lines.push("  }\n".to_owned());
    lines.join("\n")
}

fn diff(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let get = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                diff(&at, &get(before), &get(after), lines);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for at in 0..before.len().max(after.len()) {
                let get = |list: &[Value]| list.get(at).cloned().unwrap_or_default();
                diff(&format!("{path}[{at}]"), &get(before), &get(after), lines);
            }
        }
        (old, new) => {
            lines.push(format!("- \t{path}: {old},"));
            lines.push(format!("+ \t{path}: {new},"));
        }
    }
}
