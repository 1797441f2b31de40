//! The order of merged lists: what the patch says comes first, then the order that the list had (design
//! proposal "preserve order in strategic merge patch").

use super::strategic::{PATCH, StrategicError};
use serde_json::Value;
use std::collections::HashMap;

/// What tells an item apart: the value of its merge key, or the item itself. As text, so that it hashes.
fn identity(item: &Value, key: Option<&str>) -> String {
    let value = key.and_then(|key| item.get(key)).unwrap_or(item);
    value.to_string()
}

fn positions(list: &[Value], key: Option<&str>) -> HashMap<String, usize> {
    let mut map = HashMap::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        map.entry(identity(item, key)).or_insert(index);
    }
    map
}

/// Checks that the items of a patch's list that are not deleted occur in `$setElementOrder`, in that order.
pub(super) fn check(items: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), StrategicError> {
    if items.is_empty() {
        return Ok(());
    }
    let places = positions(wanted, key);
    let mut last = None;
    for item in items.iter().filter(|item| item.get(PATCH).is_none()) {
        let place = places.get(&identity(item, key)).copied();
        if place.is_none() || place < last {
            return Err(StrategicError::Other(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                Value::from(items.to_vec()),
                Value::from(wanted.to_vec())
            )));
        }
        last = place;
    }
    Ok(())
}

/// Puts `merged` in order: items of `wanted` in its order, the others in that of `before`, woven together so
/// that an item of the others stands before the first wanted item that it preceded in `before`.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let wanted = positions(wanted, key);
    let before = positions(before, key);
    let mut ours = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let id = identity(&item, key);
        let place = before.get(&id).copied();
        match wanted.get(&id) {
            Some(rank) => ours.push((*rank, place, item)),
            None => others.push((place.unwrap_or(usize::MAX), place, item)),
        }
    }
    ours.sort_by_key(|(rank, ..)| *rank);
    others.sort_by_key(|(rank, ..)| *rank);
    let mut out = Vec::with_capacity(ours.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, place, item) in ours {
        if let Some(place) = place {
            while let Some((.., other)) = others.next_if(|(_, other, _)| other.is_some_and(|o| o < place)) {
                out.push(other);
            }
        }
        out.push(item);
    }
    out.extend(others.map(|(.., item)| item));
    out
}
