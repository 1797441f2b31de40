//! Any kind, field by field, with names in words.

use super::writer::{Writer, text};
use serde_json::{Map, Value};

/// Deepest level that is shown.
const MAX_DEPTH: usize = 32;

pub(super) fn describe(object: &Value, out: &mut Writer) {
    out.head(object);
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

/// `lastTransitionTime` as `Last Transition Time`; names that are no field names stay.
fn words(key: &str) -> String {
    if !key.chars().all(char::is_alphanumeric) {
        return key.to_owned();
    }
    let mut out = String::new();
    let characters: Vec<char> = key.chars().collect();
    for (at, character) in characters.iter().enumerate() {
        if at == 0 {
            out.extend(character.to_uppercase());
            continue;
        }
        let after_lower = characters[at - 1].is_lowercase();
        let before_lower = characters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if character.is_uppercase() && (after_lower || before_lower) {
            out.push(' ');
        }
        out.push(*character);
    }
    match out.as_str() {
        "Uid" => "UID".to_owned(),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_words() {
        assert_eq!(words("lastTransitionTime"), "Last Transition Time");
        assert_eq!(words("podCIDR"), "Pod CIDR");
        assert_eq!(words("a.b/c"), "a.b/c");
    }
}
