//! Merging an applied configuration into a live object, and taking fields out of an object.

use super::path::PathElement;
use super::set::FieldSet;
use super::typed::{Atom, Ty, Typed, item_element};
use crate::schema::{ListKind, Schema};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

impl<S: Schema> Typed<'_, S> {
    /// `live` with everything that `config` sets. Lists that merge get the order of `config`, with the other
    /// items where they were in relation to those.
    pub(super) fn merge(&self, ty: Ty<S>, live: &Value, config: &Value) -> Value {
        match (self.atom(ty, config), live, config) {
            (_, live, Value::Null) if !live.is_null() => {
                // Applying null to a map or list sets nothing inside it.
                match self.atom(ty, live) {
                    Atom::Leaf => Value::Null,
                    _ => live.clone(),
                }
            }
            (Atom::Map, Value::Object(live), Value::Object(config)) => {
                let mut out = Map::with_capacity(live.len().max(config.len()));
                for (name, old) in live {
                    let merged = match config.get(name) {
                        Some(new) => self.merge(self.child(ty, name).ty, old, new),
                        None => old.clone(),
                    };
                    out.insert(name.clone(), merged);
                }
                for (name, new) in config.iter().filter(|(name, _)| !live.contains_key(*name)) {
                    out.insert(name.clone(), new.clone());
                }
                Value::Object(out)
            }
            (Atom::List { element, kind }, Value::Array(live), Value::Array(config)) => {
                Value::Array(self.merge_lists(Some(element), &kind, live, config))
            }
            _ => config.clone(),
        }
    }

    fn merge_lists(&self, ty: Ty<S>, kind: &ListKind<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
        let element = |item: &Value| item_element(kind, item).map(|element| element.encode());
        let wanted: Vec<(Option<String>, &Value)> = config.iter().map(|item| (element(item), item)).collect();
        let names: HashSet<&String> = wanted.iter().filter_map(|(name, _)| name.as_ref()).collect();
        let mut old: HashMap<String, &Value> = HashMap::new();
        // Items that only the live list has, each after the wanted item that it follows there, if any.
        let mut first: Vec<&Value> = Vec::new();
        let mut after: HashMap<String, Vec<&Value>> = HashMap::new();
        let mut last: Option<String> = None;
        for item in live {
            match element(item) {
                Some(name) if names.contains(&name) => {
                    old.entry(name.clone()).or_insert(item);
                    last = Some(name);
                }
                _ => match &last {
                    Some(name) => after.entry(name.clone()).or_default().push(item),
                    None => first.push(item),
                },
            }
        }
        let mut out: Vec<Value> = first.into_iter().cloned().collect();
        for (name, item) in &wanted {
            let before = name.as_ref().and_then(|name| old.get(name));
            out.push(before.map_or_else(|| (*item).clone(), |before| self.merge(ty, before, item)));
            let followers = name.as_ref().and_then(|name| after.remove(name));
            out.extend(followers.into_iter().flatten().cloned());
        }
        out
    }

    /// `value` without the fields in `set`. Maps and lists that become empty go as well.
    pub(super) fn remove(&self, ty: Ty<S>, value: &Value, set: &FieldSet) -> Value {
        self.without(ty, value, set).unwrap_or_else(|| match value {
            Value::Array(_) => Value::Array(Vec::new()),
            _ => Value::Object(Map::new()),
        })
    }

    fn without(&self, ty: Ty<S>, value: &Value, set: &FieldSet) -> Option<Value> {
        let keep = |element: &PathElement, ty: Ty<S>, value: &Value| -> Option<Value> {
            if set.has(element) {
                return None;
            }
            match set.child(element) {
                Some(below) if !below.is_empty() => self.without(ty, value, below),
                _ => Some(value.clone()),
            }
        };
        match (self.atom(ty, value), value) {
            (Atom::Map, Value::Object(map)) if !map.is_empty() => {
                let mut out = Map::with_capacity(map.len());
                for (name, value) in map {
                    if let Some(value) = keep(&PathElement::field(name), self.child(ty, name).ty, value) {
                        out.insert(name.clone(), value);
                    }
                }
                (!out.is_empty()).then_some(Value::Object(out))
            }
            (Atom::List { element: ty, kind }, Value::Array(items)) if !items.is_empty() => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    out.extend(match item_element(&kind, item) {
                        Some(element) => keep(&element, Some(ty), item),
                        None => Some(item.clone()),
                    });
                }
                (!out.is_empty()).then_some(Value::Array(out))
            }
            _ => Some(value.clone()),
        }
    }
}
