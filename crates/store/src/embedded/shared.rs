//! [`Shared`]: what the writer publishes and everyone else reads.

use super::history::History;
use super::hub::Hub;
use super::stall::Failed;
use super::view::{Keys, Scan, View};
use crate::kv::{Op, OpResult, RangeOptions, Revision, StoreError, Txn, TxnResult};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets of a sync's duration, in seconds: etcd's, from 1 ms to 8 s.
pub const SYNC_BUCKETS: [f64; 14] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

/// Figures of a store, for metrics and `store status`. Counts are since the start of the process.
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
    /// Bytes of the checkpoint on the disk.
    pub checkpoint_bytes: u64,
    /// Bytes that `bytes` without `history_bytes` may reach; 0 is no quota.
    pub quota: u64,
    /// Leases.
    pub leases: u64,
    /// Watchers.
    pub watchers: u64,
    /// Group commits.
    pub syncs: u64,
    /// Nanoseconds that their syncs took together.
    pub sync_nanoseconds: u64,
    /// How many of them took as long as each of [`SYNC_BUCKETS`] at most.
    pub sync_buckets: [u64; SYNC_BUCKETS.len()],
    /// Those that took longer than `Options::slow_sync`.
    pub slow_syncs: u64,
    /// Bytes written to the log.
    pub written_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Keys written, by all transactions.
    pub puts: u64,
    /// Keys removed, by all transactions and ending leases.
    pub deletes: u64,
    /// Ranges read, but for those in transactions.
    pub ranges: u64,
    /// Transactions that may write.
    pub txns: u64,
    /// Times that a write failed, so that no more were taken.
    pub read_only: u64,
    /// Times that the store took writes again by itself after that.
    pub recovered: u64,
}

/// The figures that the writer keeps.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) keys: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) old_bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) leases: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_nanoseconds: AtomicU64,
    /// Not cumulative, as it is written more often than read.
    pub(crate) sync_buckets: [AtomicU64; SYNC_BUCKETS.len()],
    pub(crate) slow_syncs: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) ranges: AtomicU64,
    pub(crate) txns: AtomicU64,
    pub(crate) read_only: AtomicU64,
    pub(crate) recovered: AtomicU64,
}

impl Counters {
    /// A sync took so long.
    pub(crate) fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Relaxed);
        self.sync_nanoseconds.fetch_add(took.as_nanos() as u64, Relaxed);
        let seconds = took.as_secs_f64();
        if let Some(at) = SYNC_BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.sync_buckets[at].fetch_add(1, Relaxed);
        }
    }

    fn cumulative(&self) -> [u64; SYNC_BUCKETS.len()] {
        let mut sum = 0;
        self.sync_buckets.each_ref().map(|bucket| {
            sum += bucket.load(Relaxed);
            sum
        })
    }
}

/// What the writer publishes and everyone else reads. Everything in it is durable.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) view: ArcSwap<View>,
    pub(crate) history: History,
    pub(crate) hub: Hub,
    /// Set when a write failed: no more writes.
    pub(crate) failed: ArcSwapOption<Failed>,
    pub(crate) counters: Counters,
    /// Bytes allowed, for the figures.
    pub(crate) quota: u64,
}

impl Shared {
    /// Why the store is read-only, if it is.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failed.load().as_ref().map(|failed| failed.error.clone())
    }

    /// Whether it is read-only only until there is room.
    pub(crate) fn is_full(&self) -> bool {
        self.failed.load().as_ref().is_some_and(|failed| failed.is_full)
    }

    /// No more writes. What is for good stays.
    pub(crate) fn fail(&self, failed: Failed) {
        let is_for_good = self.failed.load().as_ref().is_some_and(|failed| !failed.is_full);
        if !is_for_good {
            self.failed.store(Some(Arc::new(failed)));
        }
    }

    /// Writes are taken again.
    pub(crate) fn recovered(&self) {
        self.failed.store(None);
    }

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
            checkpoint_bytes: counters.checkpoint_bytes.load(Relaxed),
            quota: self.quota,
            leases: counters.leases.load(Relaxed),
            watchers: self.hub.watchers() as u64,
            syncs: counters.syncs.load(Relaxed),
            sync_nanoseconds: counters.sync_nanoseconds.load(Relaxed),
            sync_buckets: counters.cumulative(),
            slow_syncs: counters.slow_syncs.load(Relaxed),
            written_bytes: counters.written_bytes.load(Relaxed),
            checkpoints: counters.checkpoints.load(Relaxed),
            puts: counters.puts.load(Relaxed),
            deletes: counters.deletes.load(Relaxed),
            ranges: counters.ranges.load(Relaxed),
            txns: counters.txns.load(Relaxed),
            read_only: counters.read_only.load(Relaxed),
            recovered: counters.recovered.load(Relaxed),
        }
    }
}
