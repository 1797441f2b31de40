//! What `kubectl apply` sends: the patch that makes the live object follow the manifest, where the manifest
//! applied last tells which fields are ours to remove.

use super::diff::{Diff, Part};
use super::merge;
use super::strategic::{StrategicError, combine};
use crate::schema::Schema;
use serde_json::{Map, Value};

/// The strategic merge patch from `current` (live) to `modified` (manifest), with deletions from `original`
/// (last applied) to `modified`. Fields that others set stay.
pub fn strategic<S: Schema>(
    original: &Value,
    modified: &Value,
    current: &Value,
    schema: &S,
    ty: S::Type,
) -> Result<Value, StrategicError> {
    let empty = Map::new();
    let original = original.as_object().unwrap_or(&empty);
    let (Some(modified), Some(current)) = (modified.as_object(), current.as_object()) else {
        return Err(StrategicError::NotAnObject);
    };
    let delta =
        Diff { schema, part: Part::Additions, order: true }.maps(current, modified, Some(ty), false)?;
    let mut patch =
        Diff { schema, part: Part::Deletions, order: true }.maps(original, modified, Some(ty), false)?;
    combine(&mut patch, delta, schema, ty)?;
    Ok(Value::Object(patch))
}

/// The same as a JSON merge patch, for kinds without a schema for strategic merges.
pub fn json_merge(original: &Value, modified: &Value, current: &Value) -> Value {
    let mut patch = keep(&merge::diff(original, modified), true);
    let additions = keep(&merge::diff(current, modified), false);
    overlay(&mut patch, additions);
    patch
}

/// The part of a merge patch that deletes (`nulls`), or the part that does not.
fn keep(patch: &Value, nulls: bool) -> Value {
    let Value::Object(map) = patch else { return patch.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        match value {
            Value::Null if nulls => {
                out.insert(key.clone(), Value::Null);
            }
            Value::Object(_) => {
                let inner = keep(value, nulls);
                if inner.as_object().is_some_and(|inner| !inner.is_empty() || (!nulls && is_empty(value))) {
                    out.insert(key.clone(), inner);
                }
            }
            Value::Null => {}
            _ if !nulls => {
                out.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(out)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Puts one merge patch over another without acting on nulls.
fn overlay(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                match target.get_mut(&key) {
                    Some(old) => overlay(old, value),
                    None => {
                        target.insert(key, value);
                    }
                }
            }
        }
        (target, patch) => *target = patch,
    }
}
