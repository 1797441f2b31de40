//! Strategic merge patch (API conventions, "Strategic Merge Patch"): a merge patch that merges lists by key
//! and obeys the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…` and `$setElementOrder/…`.

use super::order;
use crate::schema::{Field, PatchStrategy, Schema, Shape};
use crate::status::{Reason, Status, StatusDetails};
use serde_json::{Map, Value};
use std::fmt::Write as _;

pub(super) const PATCH: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
pub(super) const ORDER_PREFIX: &str = "$setElementOrder/";

/// Why a strategic merge patch cannot be computed or applied, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what it is")]
pub enum StrategicError {
    #[error("invalid JSON document")]
    NotAnObject,
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("{0}")]
    Other(String),
}

impl StrategicError {
    /// The answer of the API server: 400 for malformed patches, 422 for lists of lists, 500 for the rest.
    pub fn status(&self) -> Status {
        match self {
            Self::NotAnObject | Self::PrimitiveList | Self::RetainKeys | Self::ElementOrder => {
                Status::bad_request(self.to_string())
            }
            Self::ListOfLists => Status::new(
                422,
                Reason::Invalid,
                "the server rejected our request due to an error in our request",
            )
            .with_details(StatusDetails::default()),
            Self::Other(message) => Status::new(500, Reason::Unknown, message),
        }
    }
}

/// Applies a patch that a client sent to an object of type `ty`, which is unspecified after an error.
pub fn apply<S: Schema>(
    target: &mut Value,
    patch: Value,
    schema: &S,
    ty: S::Type,
) -> Result<(), StrategicError> {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else {
        return Err(StrategicError::NotAnObject);
    };
    Merge { schema, live: true }.map(target, patch, Some(ty))
}

/// Adds `patch` to another patch, keeping directives and nulls: how three-way patches are put together.
pub(super) fn combine<S: Schema>(
    into: &mut Map<String, Value>,
    patch: Map<String, Value>,
    schema: &S,
    ty: S::Type,
) -> Result<(), StrategicError> {
    Merge { schema, live: false }.map(into, patch, Some(ty))
}

struct Merge<'a, S> {
    schema: &'a S,
    /// The target is an object: directives act and nulls vanish. Otherwise it is a patch itself.
    live: bool,
}

/// The field `name` of `ty`, or the entry of a map, if the schema knows it.
pub(super) fn lookup<'s, S: Schema>(
    schema: &'s S,
    ty: Option<S::Type>,
    name: &str,
) -> (Option<S::Type>, PatchStrategy<'s>) {
    let Some(ty) = ty else { return (None, PatchStrategy::default()) };
    if let Some(Field { ty, patch, .. }) = schema.field(ty, name) {
        return (Some(ty), patch);
    }
    match schema.shape(ty) {
        Shape::Map { element, .. } => (Some(element), PatchStrategy::default()),
        _ => (None, PatchStrategy::default()),
    }
}

/// The type of a list's items.
pub(super) fn element<S: Schema>(schema: &S, ty: Option<S::Type>) -> Option<S::Type> {
    match schema.shape(ty?) {
        Shape::List { element, .. } => Some(element),
        _ => None,
    }
}

impl<S: Schema> Merge<'_, S> {
    fn map(
        &self,
        target: &mut Map<String, Value>,
        mut patch: Map<String, Value>,
        ty: Option<S::Type>,
    ) -> Result<(), StrategicError> {
        if let Some(directive) = patch.shift_remove(PATCH) {
            target.clear();
            match directive.as_str() {
                Some("replace") => *target = patch,
                Some("delete") => {}
                _ => return Err(bad_directive(&directive, &patch)),
            }
            return Ok(());
        }
        self.retain_keys(target, &mut patch)?;
        self.ordered_lists(target, &mut patch, ty)?;
        for (key, value) in patch {
            if let Some(list) = key.strip_prefix(DELETE_PREFIX) {
                if self.live {
                    delete_primitives(target, list, value)?;
                } else {
                    target.insert(key, value);
                }
                continue;
            }
            if value.is_null() {
                target.shift_remove(&key);
                if !self.live {
                    target.insert(key, value);
                }
                continue;
            }
            match target.get_mut(&key) {
                Some(old) => self.value(old, value, ty, &key)?,
                None => {
                    if let Some(value) = self.fresh(value) {
                        target.insert(key, value);
                    }
                }
            }
        }
        Ok(())
    }

    fn value(
        &self,
        old: &mut Value,
        new: Value,
        parent: Option<S::Type>,
        key: &str,
    ) -> Result<(), StrategicError> {
        let (ty, strategy) = lookup(self.schema, parent, key);
        match (old, new) {
            (Value::Object(old), Value::Object(new)) if !strategy.replace => self.map(old, new, ty),
            (Value::Array(old), Value::Array(new)) if strategy.merge => {
                let merged = self.list(std::mem::take(old), new, ty, strategy.key)?;
                *old = merged;
                Ok(())
            }
            (old, new) => {
                *old = self.fresh(new).unwrap_or(Value::Null);
                Ok(())
            }
        }
    }

    /// A value of the patch where there was none: in an object without directives and nulls.
    fn fresh(&self, value: Value) -> Option<Value> {
        if self.live { plain(value) } else { Some(value) }
    }

    fn retain_keys(
        &self,
        target: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), StrategicError> {
        let Some(retained) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
        if !self.live {
            if target.get(RETAIN_KEYS).is_some_and(|other| *other != retained) {
                return Err(StrategicError::RetainKeys);
            }
            target.insert(RETAIN_KEYS.to_owned(), retained);
            return Ok(());
        }
        let Value::Array(retained) = retained else { return Err(StrategicError::RetainKeys) };
        let keeps = |key: &str| retained.iter().any(|kept| kept.as_str() == Some(key));
        let listed = |(key, value): (&String, &Value)| {
            value.is_null() || key.starts_with(DELETE_PREFIX) || key.starts_with(ORDER_PREFIX) || keeps(key)
        };
        if !patch.iter().all(listed) {
            return Err(StrategicError::RetainKeys);
        }
        target.retain(|key, _| keeps(key));
        Ok(())
    }

    /// Merges the lists that come with an order, and takes both out of the patch.
    fn ordered_lists(
        &self,
        target: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
        ty: Option<S::Type>,
    ) -> Result<(), StrategicError> {
        let ordered: Vec<String> =
            patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
        for directive in ordered {
            let Some(Value::Array(wanted)) = patch.shift_remove(&directive) else {
                return Err(StrategicError::ElementOrder);
            };
            if !self.live {
                let wanted = Value::Array(wanted.clone());
                if target.get(&directive).is_some_and(|other| *other != wanted) {
                    return Err(StrategicError::ElementOrder);
                }
                target.insert(directive.clone(), wanted);
            }
            let name = &directive[ORDER_PREFIX.len()..];
            let (field, strategy) = lookup(self.schema, ty, name);
            let old = take_list(target, name)?;
            let new = take_list(patch, name)?;
            patch.shift_remove(name);
            order::check(new.as_deref().unwrap_or_default(), &wanted, strategy.key)?;
            let before = old.clone().unwrap_or_default();
            let merged = match (old, new) {
                (None, None) => continue,
                (Some(old), None) => old,
                (None, Some(new)) if self.live => new.into_iter().filter_map(plain).collect(),
                (None, Some(new)) => new,
                (Some(old), Some(new)) if strategy.merge => self.list(old, new, field, strategy.key)?,
                (Some(_), Some(new)) => new,
            };
            let merged = order::arrange(merged, &wanted, &before, strategy.key);
            target.insert(name.to_owned(), Value::Array(merged));
        }
        Ok(())
    }

    fn list(
        &self,
        mut old: Vec<Value>,
        new: Vec<Value>,
        ty: Option<S::Type>,
        key: Option<&str>,
    ) -> Result<Vec<Value>, StrategicError> {
        if old.iter().chain(&new).any(Value::is_array) {
            return Err(StrategicError::ListOfLists);
        }
        let maps = old.iter().chain(&new).filter(|item| item.is_object()).count();
        if maps == 0 {
            let before = old.clone();
            let wanted = new.clone();
            for item in new {
                if !old.contains(&item) {
                    old.push(item);
                }
            }
            return Ok(order::arrange(old, &wanted, &before, None));
        }
        if maps < old.len() + new.len() {
            return Err(StrategicError::Other("list element types are not identical".to_owned()));
        }
        let Some(key) = key else {
            return Err(StrategicError::Other("cannot merge lists without merge key".to_owned()));
        };
        let element = element(self.schema, ty);
        let mut wanted = Vec::new();
        let mut replace = false;
        for item in new {
            let Value::Object(item) = item else { continue };
            match item.get(PATCH).filter(|_| self.live) {
                None => wanted.push(item),
                Some(directive) => match directive.as_str() {
                    Some("delete") => {
                        let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                        old.retain(|other| other.get(key) != Some(value));
                    }
                    Some("replace") => replace = true,
                    Some("merge") => {
                        let why = "merging lists cannot yet be specified in the patch";
                        return Err(StrategicError::Other(why.to_owned()));
                    }
                    _ => return Err(bad_directive(directive, &item)),
                },
            }
        }
        if replace {
            return Ok(wanted.into_iter().filter_map(|item| plain(Value::Object(item))).collect());
        }
        let before = old.clone();
        let order: Vec<Value> = wanted.iter().cloned().map(Value::Object).collect();
        for item in wanted {
            let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
            match old.iter_mut().find(|other| other.get(key) == Some(value)) {
                Some(Value::Object(other)) => self.map(other, item, element)?,
                _ => old.extend(self.fresh(Value::Object(item))),
            }
        }
        Ok(order::arrange(old, &order, &before, Some(key)))
    }
}

/// The list called `name`; its entry stays, empty, so that it keeps its place.
fn take_list(map: &mut Map<String, Value>, name: &str) -> Result<Option<Vec<Value>>, StrategicError> {
    match map.get_mut(name) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(std::mem::take(list))),
        Some(_) => Err(StrategicError::ElementOrder),
    }
}

fn delete_primitives(
    target: &mut Map<String, Value>,
    name: &str,
    items: Value,
) -> Result<(), StrategicError> {
    let Value::Array(items) = items else { return Err(StrategicError::PrimitiveList) };
    if let Some(Value::Array(list)) = target.get_mut(name) {
        list.retain(|item| !items.contains(item));
    }
    Ok(())
}

/// A value of a patch without its directives and nulls; `None` when a directive deletes it.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(PATCH).is_some_and(|directive| directive != "replace") {
                return None;
            }
            let entries = map.into_iter().filter(|(key, value)| {
                let directive = key == PATCH
                    || key == RETAIN_KEYS
                    || key.starts_with(DELETE_PREFIX)
                    || key.starts_with(ORDER_PREFIX);
                !directive && !value.is_null()
            });
            Some(Value::Object(entries.filter_map(|(key, value)| Some((key, plain(value)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(plain).collect())),
        other => Some(other),
    }
}

/// A map as Go prints one, for upstream's messages.
fn go_map(map: &Map<String, Value>) -> String {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    let mut text = String::from("map[");
    for (index, key) in keys.into_iter().enumerate() {
        let space = if index > 0 { " " } else { "" };
        let value = match &map[key] {
            Value::String(text) => text.clone(),
            Value::Object(inner) => go_map(inner),
            other => other.to_string(),
        };
        let _ = write!(text, "{space}{key}:{value}");
    }
    text.push(']');
    text
}

pub(super) fn no_merge_key(item: &Map<String, Value>, key: &str) -> StrategicError {
    StrategicError::Other(format!("map: {} does not contain declared merge key: {key}", go_map(item)))
}

fn bad_directive(directive: &Value, map: &Map<String, Value>) -> StrategicError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    StrategicError::Other(format!("unknown patch type: {directive} in map: {}", go_map(map)))
}
