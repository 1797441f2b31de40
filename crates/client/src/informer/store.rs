//! [`Store`]: the objects of an informer, with a namespace index and declared ones.

use super::Event;
use crate::key::ObjectKey;
use api::Kind;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A read-only view of cached objects. Reads take a short lock and hand out `Arc`s.
pub struct Store<K: Kind> {
    state: RwLock<State<K>>,
}

struct State<K> {
    /// Ordered, so that a namespace is a range and lists are stable.
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
}

struct Index<K> {
    name: &'static str,
    keys: fn(&K) -> Vec<String>,
    entries: HashMap<String, HashSet<ObjectKey>>,
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys)(object) {
            if let Some(keys) = self.entries.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

impl<K: Kind> State<K> {
    fn insert(&mut self, key: ObjectKey, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.objects.insert(key.clone(), object.clone());
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &object);
        }
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in &mut self.indexes {
            index.remove(key, &old);
        }
        Some(old)
    }
}

fn same_revision<K: Kind>(one: &K, other: &K) -> bool {
    let (one, other) = (one.meta(), other.meta());
    one.resource_version.is_some() && one.resource_version == other.resource_version && one.uid == other.uid
}

impl<K: Kind> Store<K> {
    pub(super) fn new() -> Self {
        Self { state: RwLock::new(State { objects: BTreeMap::new(), indexes: Vec::new() }) }
    }

    /// The object under `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The object called `name` in `namespace` (empty for cluster-scoped kinds).
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, ordered by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.state.read().objects.values().cloned().collect()
    }

    /// The objects of `namespace`, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::new(namespace, "");
        let state = self.state.read();
        let range = state.objects.range(first..);
        range.take_while(|(key, _)| &*key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that the index `name` has under `value`, ordered by key. Empty for an index nobody declared.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        let index = state.indexes.iter().find(|index| index.name == name);
        debug_assert!(index.is_some(), "index {name} was not declared");
        let Some(keys) = index.and_then(|index| index.entries.get(value)) else { return Vec::new() };
        let mut found: Vec<_> = keys.iter().filter_map(|key| state.objects.get_key_value(key)).collect();
        found.sort_by_key(|(key, _)| *key);
        found.into_iter().map(|(_, object)| object.clone()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn add_index(&self, name: &'static str, keys: fn(&K) -> Vec<String>) {
        let mut state = self.state.write();
        if state.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, keys, entries: HashMap::new() };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indexes.push(index);
    }

    pub(super) fn upsert(&self, object: Arc<K>) -> Event<K> {
        let key = ObjectKey::of(object.meta());
        match self.state.write().insert(key, object.clone()) {
            None => Event::Added(object),
            Some(old) => Event::Updated { old, new: object },
        }
    }

    pub(super) fn remove(&self, last: Arc<K>) -> Option<Event<K>> {
        let key = ObjectKey::of(last.meta());
        self.state.write().remove(&key).map(|_| Event::Deleted(last))
    }

    /// Takes over a fresh list; tells what changed since the last one.
    pub(super) fn replace(&self, objects: impl Iterator<Item = Arc<K>>) -> Vec<Event<K>> {
        let mut events = Vec::new();
        let mut seen = HashSet::new();
        let mut state = self.state.write();
        for object in objects {
            let key = ObjectKey::of(object.meta());
            seen.insert(key.clone());
            match state.insert(key, object.clone()) {
                None => events.push(Event::Added(object)),
                Some(old) if same_revision(&*old, &*object) => {}
                // Another object under the same name: the old one was deleted unseen.
                Some(old) if old.meta().uid != object.meta().uid => {
                    events.push(Event::Deleted(old));
                    events.push(Event::Added(object));
                }
                Some(old) => events.push(Event::Updated { old, new: object }),
            }
        }
        let gone: Vec<_> = state.objects.keys().filter(|key| !seen.contains(key)).cloned().collect();
        events.extend(gone.iter().filter_map(|key| state.remove(key)).map(Event::Deleted));
        events
    }
}
