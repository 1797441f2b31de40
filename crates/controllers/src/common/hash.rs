//! Stable hashes of pod templates, for `pod-template-hash` and controller revisions.

use machinery::names::safe_encode;
use serde_json::Value;

/// FNV-1a, 32 bits.
fn fnv32a(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The hash of a value, encoded for names. Maps are taken in the order of their keys and empty fields are left out, so
/// that a new optional field of the API does not change the hash of what does not use it. `collisions` makes another
/// hash where that name is taken.
pub(crate) fn of(value: &Value, collisions: Option<i32>) -> String {
    let mut canonical = String::new();
    write(value, &mut canonical);
    let salt = collisions.map(|count| count.to_le_bytes());
    safe_encode(fnv32a(canonical.bytes().chain(salt.into_iter().flatten())))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !is_empty(value)).collect();
            fields.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (name, value) in fields {
                out.push_str(name);
                out.push(':');
                write(value, out);
                out.push(';');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(';');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use serde_json::json;

    #[test]
    fn order_and_empty_fields_do_not_matter() {
        let one = of(&json!({"a": 1, "b": {"c": "d"}, "e": null, "f": []}), None);
        assert_eq!(one, of(&json!({"b": {"c": "d"}, "a": 1}), None));
        assert_ne!(one, of(&json!({"b": {"c": "x"}, "a": 1}), None));
        assert_ne!(one, of(&json!({"b": {"c": "d"}, "a": 1}), Some(1)));
    }
}
