//! `metadata.managedFields`: entries, their identity and order (KEP-555).

use super::set::FieldSet;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most managers with operation Update; older ones are put together under [`ANCIENT`].
const UPDATERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Who manages fields, as conflicts tell managers apart: an applier by name and subresource, an updater also
/// by version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    /// Whether it applies rather than updates.
    pub(super) applies: bool,
    pub(super) name: String,
    /// Empty for appliers.
    pub(super) version: String,
    pub(super) subresource: String,
}

impl Manager {
    /// As conflicts print it.
    pub(super) fn print(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applies {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) version: String,
    /// RFC 3339; empty where none was written.
    pub(super) time: String,
    pub(super) set: FieldSet,
}

/// The managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Managed(pub(super) BTreeMap<Manager, Entry>);

impl Managed {
    /// Reads `metadata.managedFields`; `None` when an entry is not well-formed.
    pub(super) fn decode(object: &Value) -> Option<Self> {
        let mut managed = Self::default();
        for entry in object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
        {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let operation = text("operation");
            if !["Apply", "Update"].contains(&operation.as_str()) {
                return None;
            }
            let applies = operation == "Apply";
            let set = match entry.get("fieldsV1") {
                Some(fields) => FieldSet::from_fields(fields)?,
                None => FieldSet::new(),
            };
            let version = text("apiVersion");
            let manager = Manager {
                applies,
                name: text("manager"),
                version: if applies { String::new() } else { version.clone() },
                subresource: text("subresource"),
            };
            managed.0.insert(manager, Entry { version, time: text("time"), set });
        }
        Some(managed)
    }

    /// Whether the client asks to forget all managers: one entry without contents.
    pub(super) fn is_reset(object: &Value) -> bool {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        entries.is_some_and(|entries| match entries.as_slice() {
            [Value::Object(entry)] => entry.values().all(|value| value.is_null() || value == ""),
            _ => false,
        })
    }

    /// Drops managers without fields.
    pub(super) fn prune(&mut self) {
        self.0.retain(|_, entry| !entry.set.is_empty());
    }

    /// Takes `set` from every manager.
    pub(super) fn strip(&mut self, set: &FieldSet) {
        for entry in self.0.values_mut() {
            entry.set.subtract(set);
        }
        self.prune();
    }

    /// Puts the oldest updaters together when there are too many.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(String, Manager)> = self
            .0
            .iter()
            .filter(|(manager, _)| !manager.applies && manager.subresource.is_empty())
            .map(|(manager, entry)| (entry.time.clone(), manager.clone()))
            .collect();
        if updaters.len() <= UPDATERS_MAX {
            return;
        }
        updaters.sort();
        let mut over = updaters.len() - UPDATERS_MAX;
        for (_, manager) in updaters {
            if manager.name == ANCIENT {
                continue;
            }
            let Some(old) = self.0.remove(&manager) else { continue };
            let bucket = Manager { name: ANCIENT.to_owned(), ..manager };
            let added = !self.0.contains_key(&bucket);
            let entry = self.0.entry(bucket).or_insert_with(|| Entry { set: FieldSet::new(), ..old.clone() });
            entry.set = entry.set.union(&old.set);
            entry.time = entry.time.clone().max(old.time);
            // The first one of a version only changes its name.
            if !added {
                over -= 1;
            }
            if over == 0 {
                return;
            }
        }
    }

    /// Writes `metadata.managedFields`, appliers first, then by time.
    pub(super) fn encode(&self, object: &mut Value) {
        let mut entries: Vec<(&Manager, &Entry)> = self.0.iter().collect();
        entries.sort_by(|(a, x), (b, y)| {
            let by = |m: &Manager, e: &Entry| (!m.applies, e.time.clone(), m.name.clone(), e.version.clone());
            by(a, x).cmp(&by(b, y)).then_with(|| a.subresource.cmp(&b.subresource))
        });
        let list: Vec<Value> =
            entries.into_iter().map(|(manager, entry)| encode_entry(manager, entry)).collect();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            if list.is_empty() {
                metadata.shift_remove("managedFields");
            } else {
                metadata.insert("managedFields".to_owned(), Value::Array(list));
            }
        }
    }
}

fn encode_entry(manager: &Manager, entry: &Entry) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            map.insert(name.to_owned(), Value::from(value));
        }
    };
    put("manager", &manager.name);
    put("operation", if manager.applies { "Apply" } else { "Update" });
    put("apiVersion", &entry.version);
    put("time", &entry.time);
    put("fieldsType", "FieldsV1");
    map.insert("fieldsV1".to_owned(), entry.set.to_fields());
    if !manager.subresource.is_empty() {
        map.insert("subresource".to_owned(), Value::from(manager.subresource.as_str()));
    }
    Value::Object(map)
}
