//! [`History`]: the changes of recent revisions, in order, for watchers that start in the past or fell behind.

use super::node::Changes;
use crate::kv::{Revision, StoreError};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Recent changes. The lock is held for copying a few pointers only.
#[derive(Debug)]
pub(crate) struct History {
    ring: RwLock<Ring>,
    /// Oldest revision that may be read.
    compacted: AtomicI64,
}

#[derive(Debug)]
struct Ring {
    /// Revision of the front.
    first: Revision,
    changes: VecDeque<Arc<Changes>>,
}

impl History {
    /// An empty history: the next revision is `first`, and states are readable from `compacted` on.
    pub(crate) fn new(first: Revision, compacted: Revision) -> Self {
        let ring = RwLock::new(Ring { first, changes: VecDeque::new() });
        Self { ring, compacted: AtomicI64::new(compacted) }
    }

    /// Oldest revision that may be read.
    pub(crate) fn compacted(&self) -> Revision {
        self.compacted.load(Ordering::Acquire)
    }

    /// Refuses reads before `revision` from now on; the changes themselves go with [`History::pop`].
    pub(crate) fn compact(&self, revision: Revision) {
        self.compacted.fetch_max(revision, Ordering::AcqRel);
    }

    /// Appends the next revisions.
    pub(crate) fn extend(&self, changes: impl IntoIterator<Item = Arc<Changes>>) {
        self.ring.write().changes.extend(changes);
    }

    /// Number of revisions held.
    pub(crate) fn len(&self) -> usize {
        self.ring.read().changes.len()
    }

    /// Removes up to `most` of the oldest revisions, none after `last`.
    pub(crate) fn pop(&self, last: Revision, most: usize) -> Vec<Arc<Changes>> {
        let mut ring = self.ring.write();
        let count = usize::try_from(last - ring.first + 1).unwrap_or(0).min(most).min(ring.changes.len());
        ring.first += count as Revision;
        ring.changes.drain(..count).collect()
    }

    /// Oldest revision that a watch may start from.
    pub(crate) fn oldest_watchable(&self) -> Revision {
        self.compacted().max(self.ring.read().first)
    }

    /// Up to `most` revisions from `from` on.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when `from` is gone.
    pub(crate) fn read(&self, from: Revision, most: usize) -> Result<Vec<Arc<Changes>>, StoreError> {
        let ring = self.ring.read();
        let oldest = self.compacted().max(ring.first);
        if from < oldest {
            return Err(StoreError::Compacted { oldest });
        }
        let skip = usize::try_from(from - ring.first).unwrap_or(usize::MAX).min(ring.changes.len());
        Ok(ring.changes.range(skip..).take(most).cloned().collect())
    }
}
