//! The embedded engine: [`Embedded`], a [`Store`] in one directory of one process.
//!
//! All keys, and history since the oldest readable revision, are in memory: a persistent ordered map from key to
//! its newest version, and each version points at the one before. A reader takes the map as the last durable
//! commit left it and never waits. On the disk is a log of group commits and, once enough of the log is only
//! history, a checkpoint of the state at the oldest readable revision, so that both stay in step: the disk holds
//! the checkpoint and the log after it, memory the same, and a restart forgets no history.
//!
//! | module | what |
//! | --- | --- |
//! | `disk` | file operations, real and failing |
//! | `frame`, `record`, `wal`, `checkpoint` | what is on the disk |
//! | `recover`, `chunk`, `bulk` | reading it again |
//! | `node`, `view`, `history`, `state` | what is in memory |
//! | `core`, `upkeep`, `writer` | the one writer: batches, group commit, compaction, checkpoints, leases |
//! | `stall` | what follows a write that failed |
//! | `hub`, `interval`, `watcher` | watches |
//! | `alarm`, `maintain`, `metrics` | figures, alarms, what `Maintenance` asks for |
//! | `snapshot`, `verify`, `offline` | snapshots, verification in use and at rest, restoring and importing |
//!
//! Promises: a transaction is answered after it is durable; reads and watches see nothing before; after a failed
//! write the store is read-only (until there is room, when the disk was full) and what was acknowledged is kept; damage is refused with file and offset, while a
//! last record that a power loss left incomplete is cut.
//!
//! Deliberately absent: replication (a cluster of several machines uses etcd through the same trait), keys that do
//! not fit into memory, authentication, nested transactions.

mod alarm;
mod bulk;
mod checkpoint;
mod chunk;
mod core;
pub mod disk;
mod frame;
pub(crate) mod fuzz;
mod history;
mod hub;
mod interval;
mod maintain;
mod metrics;
mod node;
mod offline;
mod options;
mod record;
mod recover;
mod request;
mod shared;
mod snapshot;
mod stall;
mod state;
mod stepped;
#[cfg(test)]
mod tests;
mod upkeep;
mod verify;
mod view;
mod wal;
mod watcher;
mod writer;

pub use maintain::Holding;
pub use node::KEY_OVERHEAD;
pub use offline::{
    Import, Report, check, check_snapshot, is_store, restore, restore_ahead, restore_on, summarize,
};
pub use options::{Clock, Options};
pub use shared::{SYNC_BUCKETS, Stats};
pub use snapshot::{SnapshotStream, Summary};
pub use stepped::{Checkpoint, Stepped};

use self::core::Core;
use self::disk::Disk;
use self::disk::real::RealDisk;
use self::hub::Hub;
use self::request::{Reply, Request, is_read_only, validate};
use self::shared::{Counters, Shared};
use self::stall::Failed;
use self::view::{Keys, Scan};
use self::watcher::Watch;
use crate::kv::{LeaseId, Range, RangeOptions, Revision, Store, StoreError, Txn, TxnResult, WatchStream};
use ::arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

/// Keys that a range visits before other tasks may run.
const PORTION: usize = 4096;

/// The embedded store. Dropping it ends its threads, after the batch being written, and gives the directory back;
/// watches end with [`StoreError::Closed`].
pub struct Embedded {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    requests: Sender<Request>,
    threads: Vec<JoinHandle<()>>,
    max_txn_bytes: usize,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("dir", &self.disk.describe("")).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in `dir`, which is created when missing. Reads all of it: call it where blocking is
    /// allowed.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it, [`StoreError::Corrupt`] when it is damaged (nothing
    /// is changed then), [`StoreError::Io`].
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let disk = RealDisk::create(dir)
            .map_err(|error| StoreError::Io(format!("failed to create {}: {error}", dir.display())))?;
        Self::open_disk(Arc::new(disk), options)
    }

    /// Opens the store in any [`Disk`].
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_disk(disk: Arc<dyn Disk>, options: Options) -> Result<Self, StoreError> {
        let lock = lock(disk.as_ref())?;
        let core = open_core(disk.clone(), options)?;
        let shared = core.shared.clone();
        let (interval, max_txn_bytes) = (core.options.progress_interval, core.options.max_txn_bytes);
        let (requests, inbox) = channel();
        let failed = |error| StoreError::Io(format!("failed to start a thread of the store: {error}"));
        let to_self = requests.clone();
        let writer = Builder::new().name("store-writer".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                let _lock = lock;
                let run = std::panic::AssertUnwindSafe(|| writer::run(core, &inbox, &to_self));
                if std::panic::catch_unwind(run).is_err() {
                    tracing::error!(
                        "the writer of the store panicked; this is a bug of Windlass, please report it"
                    );
                    let why = "the writer of the store panicked; restart the process".to_owned();
                    shared.fail(Failed { error: StoreError::Io(why), is_full: false });
                }
            }
        });
        let mut store = Self {
            shared: shared.clone(),
            disk,
            requests,
            threads: vec![writer.map_err(failed)?],
            max_txn_bytes,
        };
        let hub = Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || shared.hub.run(&shared.history, interval))
            .map_err(failed)?;
        store.threads.push(hub);
        Ok(store)
    }

    /// Figures of the store.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Its directory, as messages call it.
    pub fn directory(&self) -> String {
        self.disk.describe("")
    }

    /// Makes the store look at its clock: only needed by tests that own it.
    pub fn tick(&self) {
        // After a stop there is nothing to do.
        let _ = self.requests.send(Request::Wake);
    }

    /// Why the store is read-only, if it is.
    pub fn failure(&self) -> Option<StoreError> {
        self.shared.failure()
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let gone = || self.failure().unwrap_or(StoreError::Closed);
        self.requests.send(request(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn lock(disk: &dyn Disk) -> Result<Box<dyn Send>, StoreError> {
    let name = disk.describe("");
    match disk.lock() {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(StoreError::Locked(name)),
        Err(error) => Err(StoreError::Io(format!("failed to lock {name}: {error}"))),
    }
}

/// Reads and repairs the directory; the result is ready to write.
fn open_core(disk: Arc<dyn Disk>, options: Options) -> Result<Core, StoreError> {
    let recovered = recover::read(disk.as_ref(), (options.clock)())?;
    let base = recovered.base;
    let checkpoint = checkpoint::checkpoint_name(base);
    // None was written yet.
    let checkpoint_bytes = disk.open(&checkpoint).and_then(|file| file.size()).unwrap_or(0);
    let (state, history, wal) = recovered.resume(disk.clone(), options.segment_bytes).map_err(|error| {
        StoreError::Io(format!("failed to open the log in {}: {error}", disk.describe("")))
    })?;
    let shared = Arc::new(Shared {
        view: ArcSwap::from_pointee(state.view.clone()),
        history,
        hub: Hub::new(state.view.revision, options.watch_buffer),
        failed: ArcSwapOption::empty(),
        counters: Counters::default(),
        quota: options.quota,
    });
    shared.counters.checkpoint_bytes.store(checkpoint_bytes, std::sync::atomic::Ordering::Relaxed);
    Ok(Core::new(shared, options, disk, (state, wal, base)))
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The writer may have ended by itself.
        let _ = self.requests.send(Request::Stop);
        self.shared.hub.close();
        for thread in self.threads.drain(..) {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.shared.view.load().revision)
    }

    async fn range(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        options: RangeOptions,
    ) -> Result<Range, StoreError> {
        let view = self.shared.view.load_full();
        let revision = options.revision;
        self.shared.counters.ranges.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.shared.check(revision, &view)?;
        let mut scan = Scan::new(Keys::new(start, end), options, &view);
        while !scan.step(&view, PORTION) {
            tokio::task::yield_now().await;
        }
        // Compaction may have overtaken the scan.
        self.shared.check(revision, &view)?;
        Ok(scan.finish())
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        if is_read_only(&txn) {
            return self.shared.read_only(&txn);
        }
        // Also where the writer would find it, but not on its time.
        validate(&txn.success, self.max_txn_bytes)?;
        validate(&txn.failure, self.max_txn_bytes)?;
        self.ask(|reply| Request::Txn(txn, reply)).await
    }

    async fn watch(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        from: Option<Revision>,
        progress: bool,
    ) -> Result<WatchStream, StoreError> {
        let keys = Keys::new(start, end);
        let next = match from.filter(|from| *from > 0) {
            None => self.shared.view.load().revision + 1,
            Some(from) => {
                // Nothing changed at revision 1: who asks for it asks for everything, unless that is gone.
                let from = if self.shared.history.compacted() <= 1 { from.max(2) } else { from };
                let oldest = self.shared.history.oldest_watchable();
                if from < oldest {
                    return Err(StoreError::Compacted { oldest });
                }
                from
            }
        };
        Ok(Watch::new(self.shared.clone(), keys, next, progress).boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Request::Compact(revision, reply)).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Request::Grant(id, ttl, reply)).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Request::Revoke(id, reply)).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError> {
        self.ask(|reply| Request::KeepAlive(id, reply)).await
    }

    fn metrics(&self) -> String {
        self.render_metrics()
    }
}
