//! JSON merge patch (RFC 7386).

use crate::status::Status;
use serde_json::{Map, Value};

/// Applies `patch` to `target`. Recursion is as deep as the patch, which its decoder bounds.
pub fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_maps(target, patch),
        (target, patch) => *target = prune_nulls(patch),
    }
}

fn merge_maps(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(&key);
        } else if let Some(old) = target.get_mut(&key) {
            merge(old, value);
        } else {
            target.insert(key, prune_nulls(value));
        }
    }
}

/// What a patch leaves where nothing was: maps without their nulls. Lists stay as they are.
fn prune_nulls(patch: Value) -> Value {
    match patch {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, prune_nulls(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Applies a patch that a client sent; 400 when it is not an object.
pub fn apply(target: &mut Value, patch: Value) -> Result<(), Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    merge(target, patch);
    Ok(())
}

/// The patch that makes `modified` of `original`. A null inside `modified` cannot be expressed and is left out.
pub fn diff(original: &Value, modified: &Value) -> Value {
    match (original, modified) {
        (Value::Object(original), Value::Object(modified)) => {
            let mut patch = Map::new();
            for (key, new) in modified {
                match original.get(key) {
                    Some(old) if old == new => {}
                    Some(old) if old.is_object() && new.is_object() => {
                        patch.insert(key.clone(), diff(old, new));
                    }
                    _ => {
                        patch.insert(key.clone(), new.clone());
                    }
                }
            }
            for key in original.keys().filter(|key| !modified.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            Value::Object(patch)
        }
        _ => modified.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json_tree;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn examples_of_the_rfc() {
        let rows = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in rows {
            merge(&mut target, patch);
            assert_eq!(target, expected);
        }
        assert_eq!(apply(&mut json!({}), json!([])).unwrap_err().code, 400);
    }

    proptest! {
        #[test]
        fn diff_then_merge_is_the_target(original in json_tree(), modified in json_tree()) {
            prop_assume!(original.is_object() && modified.is_object());
            let mut target = original.clone();
            merge(&mut target, diff(&original, &modified));
            prop_assert_eq!(target, modified);
        }
    }
}
