//! Any kind, field by field, with names in words.

use super::writer::{Writer, text};
use serde_json::{Map, Value};

/// Deepest level that is shown.
const MAX_DEPTH: usize = 32;

pub(super) fn describe(object: &Value, out: &mut Writer) {
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.line(0, &format!("Namespace:\t{}", text(&object["metadata"]["namespace"])));
    out.labels(object);
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    out.field(0, "API Version", &text(&object["apiVersion"]));
    out.field(0, "Kind", &text(&object["kind"]));
    let mut meta = object["metadata"].as_object().cloned().unwrap_or_default();
    for shown in ["name", "namespace", "labels", "annotations", "managedFields"] {
        meta.remove(shown);
    }
    out.line(0, "Metadata:");
    fields(out, 1, &meta);
    let mut rest = map.clone();
    for shown in ["apiVersion", "kind", "metadata"] {
        rest.remove(shown);
    }
    fields(out, 0, &rest);
}

fn fields(out: &mut Writer, level: usize, map: &Map<String, Value>) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let label = words(key);
        match value {
            _ if level > MAX_DEPTH => {}
            Value::Object(inner) => {
                out.line(level, &format!("{label}:"));
                fields(out, level + 1, inner);
            }
            Value::Array(items) => {
                out.line(level, &format!("{label}:"));
                for item in items {
                    match item {
                        Value::Object(inner) => fields(out, level + 1, inner),
                        other => out.line(level + 1, &text(other)),
                    }
                }
            }
            other => out.line(level, &format!("{label}:\t{}", text(other))),
        }
    }
}

/// Words that are written in capitals.
const ACRONYMS: &[&str] = &["API", "URL", "UID", "OSB", "GUID"];

/// `lastTransitionTime` as `Last Transition Time`; names with anything but letters and minus signs stay.
fn words(key: &str) -> String {
    if !key.chars().all(|c| c.is_alphabetic() || c == '-') {
        return key.to_owned();
    }
    // Runs of one kind of character; the last capital of a run belongs to the small letters behind it.
    let kind = |c: char| (c.is_uppercase(), c == '-');
    let mut runs: Vec<String> = Vec::new();
    for c in key.chars() {
        match runs.last_mut() {
            Some(run) if run.chars().last().is_some_and(|last| kind(last) == kind(c)) => run.push(c),
            Some(run) if c.is_lowercase() && run.chars().all(char::is_uppercase) => {
                let capital = run.pop().unwrap_or_default();
                if run.is_empty() {
                    runs.pop();
                }
                runs.push(format!("{capital}{c}"));
            }
            _ => runs.push(c.to_string()),
        }
    }
    let shown = |run: &String| {
        let upper = run.to_uppercase();
        if ACRONYMS.contains(&upper.as_str()) {
            return upper;
        }
        let mut rest = run.chars();
        rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
    };
    runs.iter().map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_words() {
        assert_eq!(words("lastTransitionTime"), "Last Transition Time");
        assert_eq!(words("podCIDR"), "Pod CIDR");
        assert_eq!(words("a.b/c"), "a.b/c");
        assert_eq!(words("apiVersion"), "API Version");
        assert_eq!(words("x-kubernetes-a"), "X - Kubernetes - A");
        assert_eq!(words("openAPIV3Schema"), "openAPIV3Schema");
    }
}
