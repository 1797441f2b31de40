//! [`CacheEvent`]: one change of one object, encoded at most once per format for all watchers.

use api::StoredObject;
use bytes::Bytes;
use machinery::GroupVersionKind;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What happened to an object, as a watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new, or new to the selector.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer selected.
    Deleted,
}

impl Change {
    /// As watch events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        }
    }
}

/// A format in which watchers want an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// Version served.
    pub gvk: GroupVersionKind,
    /// Media type and its parameters, in a form that is equal exactly when the bytes are.
    pub format: &'static str,
}

/// One change of one object.
#[derive(Debug)]
pub struct CacheEvent {
    /// Position in the cache's history.
    pub seq: u64,
    /// Revision of the commit.
    pub revision: i64,
    /// What happened.
    pub change: Change,
    /// `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The state after it; after a deletion, the last state at the revision of the deletion.
    pub object: Arc<StoredObject>,
    /// The state before it.
    pub previous: Option<Arc<StoredObject>>,
    pub(super) at: Instant,
    gone: OnceLock<Arc<StoredObject>>,
    encoded: Mutex<Vec<(Change, Encoding, Bytes)>>,
}

impl CacheEvent {
    pub(super) fn new(
        seq: u64,
        revision: i64,
        change: Change,
        key: Arc<str>,
        object: Arc<StoredObject>,
        previous: Option<Arc<StoredObject>>,
        at: Instant,
    ) -> Self {
        let encoded = Mutex::new(Vec::new());
        Self { seq, revision, change, key, object, previous, at, gone: OnceLock::new(), encoded }
    }

    /// The object to send with `change`: for a deletion that is only one to a selector, the previous state at
    /// this event's revision.
    pub fn object_for(&self, change: Change) -> Arc<StoredObject> {
        match (&self.previous, change, self.change) {
            (Some(previous), Change::Deleted, Change::Added | Change::Modified) => self
                .gone
                .get_or_init(|| match StoredObject::new(self.revision, previous.raw().clone()) {
                    Ok(object) => Arc::new(object),
                    Err(_) => previous.clone(),
                })
                .clone(),
            _ => self.object.clone(),
        }
    }

    /// The bytes for this event as `change` in `encoding`, made by `encode` on first use.
    pub fn encoded<E>(
        &self,
        change: Change,
        encoding: &Encoding,
        encode: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let find = |all: &[(Change, Encoding, Bytes)]| {
            all.iter().find(|(c, e, _)| *c == change && e == encoding).map(|(.., bytes)| bytes.clone())
        };
        if let Some(bytes) = find(&self.encoded.lock()) {
            return Ok(bytes);
        }
        // Encoded outside the lock; a race costs one encoding.
        let bytes = encode()?;
        let mut all = self.encoded.lock();
        if find(&all).is_none() {
            all.push((change, encoding.clone(), bytes.clone()));
        }
        Ok(bytes)
    }
}
