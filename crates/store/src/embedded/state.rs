//! [`State`]: what the writer works on: the next view, the leases, the sizes. It knows no files and no threads;
//! recovery applies the same changes through the same functions.

use super::alarm::Alarms;
use super::bulk::Overlay;
use super::node::{Changes, Node, Slot};
use super::view::{Keys, View};
use crate::kv::{KeyValue, LeaseId, Revision};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A lease.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Seconds that it lives without a renewal.
    pub(crate) ttl: i64,
    /// When it ends, by the clock of the options.
    pub(crate) deadline: Duration,
    /// Keys that end with it.
    pub(crate) keys: BTreeSet<Bytes>,
}

/// What the writer works on.
#[derive(Debug)]
pub(crate) struct State {
    /// Ahead of the published view by the changes that are not durable yet.
    pub(crate) view: View,
    pub(crate) leases: HashMap<LeaseId, Lease>,
    /// Bytes of all versions held.
    pub(crate) bytes: u64,
    /// Bytes of those that are not the newest of a key, or are removals.
    pub(crate) old_bytes: u64,
    /// Keys that exist.
    pub(crate) keys: u64,
    /// While a log is replayed: what is newer than in the view's index.
    overlay: Option<Overlay>,
}

impl State {
    /// Nothing, at revision `revision`.
    pub(crate) fn new(revision: Revision) -> Self {
        let index = imbl::OrdSet::new();
        let view = View { index, revision, leases: Arc::default(), alarms: Alarms::default() };
        Self { view, leases: HashMap::new(), bytes: 0, old_bytes: 0, keys: 0, overlay: None }
    }

    /// A replay begins: until [`State::end_replay`] the view's index is not up to date.
    pub(crate) fn begin_replay(&mut self) {
        self.overlay = Some(Overlay::default());
    }

    /// The replay is over.
    pub(crate) fn end_replay(&mut self) {
        if let Some(overlay) = self.overlay.take() {
            overlay.apply(&mut self.view.index);
        }
    }

    /// The newest version of a key, which may be its removal.
    fn newest(&self, key: &[u8]) -> Option<&Arc<Node>> {
        let newer = self.overlay.as_ref().and_then(|overlay| overlay.get(key));
        newer.or_else(|| self.view.index.get(key).map(|slot| &slot.0))
    }

    fn set_newest(&mut self, node: Arc<Node>) {
        match &mut self.overlay {
            Some(overlay) => overlay.set(node),
            None => drop(self.view.index.insert(Slot(node))),
        }
    }

    /// Adds a key of a checkpoint; they come in order.
    pub(crate) fn load(&mut self, kv: KeyValue) {
        let node = Node::new(kv, None);
        self.bytes += node.size();
        self.keys += 1;
        self.view.index.insert(Slot(node));
    }

    /// Binds all keys to their leases anew: a log that repeats what a checkpoint holds may bind a key to a lease
    /// that ends and comes again.
    pub(crate) fn attach_all(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        self.leases.values_mut().for_each(|lease| lease.keys.clear());
        let view = self.view.clone();
        for slot in view.index.iter().filter(|slot| slot.0.kv.lease != 0) {
            self.attach(&slot.0.kv.key, slot.0.kv.lease);
        }
    }

    /// Puts the leases into the view.
    pub(crate) fn publish_leases(&mut self) {
        let leases = self.leases.iter().map(|(id, lease)| (*id, lease.ttl)).collect();
        self.view.leases = Arc::new(leases);
    }

    fn attach(&mut self, key: &Bytes, lease: LeaseId) {
        if lease != 0
            && let Some(lease) = self.leases.get_mut(&lease)
        {
            lease.keys.insert(key.clone());
        }
    }

    fn detach(&mut self, key: &Bytes, lease: LeaseId) {
        if lease != 0
            && let Some(lease) = self.leases.get_mut(&lease)
        {
            lease.keys.remove(key);
        }
    }

    /// Writes a key as part of `revision`. Shares `value`; of `key` it keeps a copy when the key is new, as keys
    /// are often slices of larger buffers.
    pub(crate) fn put(&mut self, revision: Revision, key: &[u8], value: Bytes, lease: LeaseId) -> Arc<Node> {
        let slot = self.newest(key).cloned();
        let old = slot.as_ref().filter(|node| !node.is_removal());
        let kv = KeyValue {
            key: slot.as_ref().map_or_else(|| Bytes::copy_from_slice(key), |node| node.kv.key.clone()),
            value,
            create_revision: old.map_or(revision, |old| old.kv.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.kv.version + 1),
            lease,
        };
        match old {
            Some(old) => {
                self.old_bytes += old.size();
                if old.kv.lease != lease {
                    self.detach(&kv.key, old.kv.lease);
                }
            }
            None => self.keys += 1,
        }
        self.attach(&kv.key, lease);
        let node = Node::new(kv, slot);
        self.bytes += node.size();
        self.set_newest(node.clone());
        node
    }

    /// Removes a key, if it exists, as part of `revision`.
    pub(crate) fn remove(&mut self, revision: Revision, key: &[u8]) -> Option<Arc<Node>> {
        let old = self.newest(key).filter(|node| !node.is_removal())?.clone();
        self.detach(&old.kv.key, old.kv.lease);
        self.old_bytes += old.size();
        self.keys -= 1;
        let node = Node::removal(old.kv.key.clone(), revision, old);
        self.bytes += node.size();
        self.old_bytes += node.size();
        self.set_newest(node.clone());
        Some(node)
    }

    /// The keys of `keys` that exist.
    pub(crate) fn existing(&self, keys: &Keys) -> Vec<Bytes> {
        let slots = self.view.slots(keys, None);
        slots.filter(|slot| !slot.0.is_removal()).map(|slot| slot.0.kv.key.clone()).collect()
    }

    /// Forgets what the changes of one revision superseded. That revision must be older than any that may be
    /// read, or the oldest.
    pub(crate) fn forget(&mut self, changes: &Changes) {
        for node in &changes.nodes {
            if let Some(old) = node.cut() {
                self.bytes -= old.size();
                self.old_bytes -= old.size();
            }
            if node.is_removal() && self.newest(&node.kv.key).is_some_and(|newest| Arc::ptr_eq(newest, node))
            {
                self.view.index.remove(&node.kv.key[..]);
                if let Some(overlay) = &mut self.overlay {
                    overlay.remove(&node.kv.key);
                }
                self.bytes -= node.size();
                self.old_bytes -= node.size();
            }
        }
    }
}
