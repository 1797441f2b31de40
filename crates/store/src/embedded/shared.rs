//! [`Shared`]: what the writer publishes and everyone else reads.

use super::history::History;
use super::hub::Hub;
use super::view::{Keys, Scan, View};
use crate::kv::{Op, OpResult, RangeOptions, Revision, StoreError, Txn, TxnResult};
use arc_swap::ArcSwap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Figures of a store, for metrics and `store status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Latest revision.
    pub revision: Revision,
    /// Oldest revision that can be read.
    pub compacted: Revision,
    /// Keys that exist.
    pub keys: u64,
    /// Bytes of all versions held, overhead included; without `history_bytes` it is what the quota limits.
    pub bytes: u64,
    /// Those of `bytes` that are history.
    pub history_bytes: u64,
    /// Bytes of the log on the disk.
    pub log_bytes: u64,
    /// Leases.
    pub leases: u64,
    /// Watchers.
    pub watchers: u64,
    /// Group commits since the start.
    pub syncs: u64,
    /// Nanoseconds that they took together, writing included.
    pub sync_nanoseconds: u64,
    /// Those that took longer than `Options::slow_sync`.
    pub slow_syncs: u64,
    /// Checkpoints written since the start.
    pub checkpoints: u64,
}

/// The figures that the writer keeps.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) keys: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) old_bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) leases: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_nanoseconds: AtomicU64,
    pub(crate) slow_syncs: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
}

/// What the writer publishes and everyone else reads. Everything in it is durable.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) view: ArcSwap<View>,
    pub(crate) history: History,
    pub(crate) hub: Hub,
    /// Set when a write failed: no more writes.
    pub(crate) failed: OnceLock<StoreError>,
    pub(crate) counters: Counters,
}

impl Shared {
    /// Whether `revision` can be read from `view`.
    pub(crate) fn check(&self, revision: Option<Revision>, view: &View) -> Result<(), StoreError> {
        let Some(revision) = revision.filter(|revision| *revision > 0) else { return Ok(()) };
        if revision > view.revision {
            return Err(StoreError::Future { current: view.revision });
        }
        let oldest = self.history.compacted();
        if revision < oldest { Err(StoreError::Compacted { oldest }) } else { Ok(()) }
    }

    /// Runs a transaction that writes in neither branch.
    pub(crate) fn read_only(&self, txn: &Txn) -> Result<TxnResult, StoreError> {
        let view = self.view.load_full();
        let succeeded = txn.compares.iter().all(|compare| view.holds(compare));
        let mut results = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            if let Op::Range { start, end, options } = op {
                let keys = Keys::new(start.clone(), end.clone());
                results.push(OpResult::Range(self.range(keys, options.clone(), &view)?));
            }
        }
        Ok(TxnResult { succeeded, revision: view.revision, results })
    }

    fn range(&self, keys: Keys, options: RangeOptions, view: &View) -> Result<crate::kv::Range, StoreError> {
        let revision = options.revision;
        self.check(revision, view)?;
        let range = Scan::new(keys, options, view).all(view);
        // Compaction may have overtaken the scan.
        self.check(revision, view)?;
        Ok(range)
    }

    pub(crate) fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            revision: self.view.load().revision,
            compacted: self.history.compacted(),
            keys: counters.keys.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            history_bytes: counters.old_bytes.load(Relaxed),
            log_bytes: counters.log_bytes.load(Relaxed),
            leases: counters.leases.load(Relaxed),
            watchers: self.hub.watchers() as u64,
            syncs: counters.syncs.load(Relaxed),
            sync_nanoseconds: counters.sync_nanoseconds.load(Relaxed),
            slow_syncs: counters.slow_syncs.load(Relaxed),
            checkpoints: counters.checkpoints.load(Relaxed),
        }
    }
}
