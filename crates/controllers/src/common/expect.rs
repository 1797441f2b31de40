//! [`Expectations`]: what a controller wrote but its cache has not shown yet. Without them it would act on a stale cache:
//! create the same pod twice, delete two instead of one. They are checked against the cache itself, not counted, so
//! nothing can leak and no timeout is needed.

use api::Kind;
use client::{Informer, ObjectKey};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Pending writes of dependents `K` by owner.
pub(crate) struct Expectations<K: Kind> {
    informer: Informer<K>,
    pending: Mutex<HashMap<ObjectKey, Vec<Write>>>,
}

enum Write {
    /// Seen once the cache has passed this revision.
    Revision(i64),
    /// Seen once the object is gone or being deleted.
    Deletion { key: ObjectKey, uid: Option<String> },
}

fn revision_of<K: Kind>(object: &K) -> Option<i64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

impl<K: Kind> Expectations<K> {
    pub(crate) fn new(informer: &Informer<K>) -> Self {
        Self { informer: informer.clone(), pending: Mutex::default() }
    }

    /// `owner` wrote `object`, as the API answered it.
    pub(crate) fn wrote(&self, owner: &ObjectKey, object: &K) {
        if let Some(revision) = revision_of(object) {
            self.pending.lock().entry(owner.clone()).or_default().push(Write::Revision(revision));
        }
    }

    /// `owner` deleted `object`, as the cache showed it.
    pub(crate) fn deleted(&self, owner: &ObjectKey, object: &K) {
        let meta = object.meta();
        let write = Write::Deletion { key: ObjectKey::of(meta), uid: meta.uid.clone() };
        self.pending.lock().entry(owner.clone()).or_default().push(write);
    }

    /// Whether the cache shows all that `owner` wrote. If not, the events still to come will queue it again.
    pub(crate) fn settled(&self, owner: &ObjectKey) -> bool {
        let mut pending = self.pending.lock();
        let Some(writes) = pending.get_mut(owner) else { return true };
        let reached = self.informer.revision();
        writes.retain(|write| match write {
            Write::Revision(revision) => *revision > reached,
            Write::Deletion { key, uid } => self.informer.store().get(key).is_some_and(|object| {
                object.meta().uid == *uid && object.meta().deletion_timestamp.is_none()
            }),
        });
        let settled = writes.is_empty();
        if settled {
            pending.remove(owner);
        }
        settled
    }

    /// Forgets an owner that is gone.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.pending.lock().remove(owner);
    }
}
