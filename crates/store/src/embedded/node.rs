//! [`Node`]: one version of one key. Versions of a key form a chain from the newest to the oldest that history
//! has; the index holds the newest. A node never changes, but compaction cuts its chain.

use crate::kv::{Event, EventKind, KeyValue, Revision};
use bytes::Bytes;
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// What a version costs beside the bytes of key and value, as the quota counts it: node, index slot, history slot, headers of two
/// allocations. Measured with one million keys.
pub const KEY_OVERHEAD: u64 = 224;

/// One version of one key; a removal is a version too, with `version` 0.
#[derive(Debug)]
pub(crate) struct Node {
    /// The state; of a removal only the key and the revision.
    pub(crate) kv: KeyValue,
    previous: Mutex<Option<Arc<Node>>>,
}

impl Node {
    pub(crate) fn new(kv: KeyValue, previous: Option<Arc<Node>>) -> Arc<Self> {
        Arc::new(Self { kv, previous: Mutex::new(previous) })
    }

    /// The removal of `key` at `revision`.
    pub(crate) fn removal(key: Bytes, revision: Revision, previous: Arc<Node>) -> Arc<Self> {
        let kv = KeyValue {
            key,
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: revision,
            version: 0,
            lease: 0,
        };
        Self::new(kv, Some(previous))
    }

    pub(crate) fn is_removal(&self) -> bool {
        self.kv.version == 0
    }

    pub(crate) fn previous(&self) -> Option<Arc<Node>> {
        self.previous.lock().clone()
    }

    /// Forgets the versions before this one; returns the newest of them.
    pub(crate) fn cut(&self) -> Option<Arc<Node>> {
        self.previous.lock().take()
    }

    /// Bytes that this version holds.
    pub(crate) fn size(&self) -> u64 {
        (self.kv.key.len() + self.kv.value.len()) as u64 + KEY_OVERHEAD
    }

    /// This change as watchers see it.
    pub(crate) fn event(&self) -> Event {
        Event {
            kind: if self.is_removal() { EventKind::Delete } else { EventKind::Put },
            kv: self.kv.clone(),
            previous: self.previous().filter(|node| !node.is_removal()).map(|node| node.kv.clone()),
        }
    }
}

impl Drop for Node {
    /// Without recursion: the chain of a busy key is long.
    fn drop(&mut self) {
        let mut next = self.previous.get_mut().take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.previous.get_mut().take();
        }
    }
}

/// A slot of the index: the newest version of a key, ordered by key.
#[derive(Clone, Debug)]
pub(crate) struct Slot(pub(crate) Arc<Node>);

impl Slot {
    /// The newest version that is not younger than `revision`, if the key existed then.
    pub(crate) fn at(&self, revision: Revision) -> Option<Arc<Node>> {
        let mut node = self.0.clone();
        while node.kv.mod_revision > revision {
            node = node.previous()?;
        }
        (!node.is_removal()).then_some(node)
    }
}

impl Borrow<[u8]> for Slot {
    fn borrow(&self) -> &[u8] {
        &self.0.kv.key
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.0.kv.key == other.0.kv.key
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.kv.key.cmp(&other.0.kv.key)
    }
}

/// All changes of one revision, in the order of the transaction. Shared by history and watchers.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) revision: Revision,
    pub(crate) nodes: Box<[Arc<Node>]>,
}
