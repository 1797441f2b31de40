//! [`Maintenance`] of the embedded store, and what goes beyond it: snapshots, verification, metrics.

use super::disk::Disk;
use super::node::Slot;
use super::request::{Held, Request};
use super::shared::Shared;
use super::snapshot::{self, SnapshotStream};
use super::view::{Keys, View};
use super::{Embedded, PORTION, Report, metrics, verify};
use crate::kv::{KeyValue, LeaseId, Revision, StoreError};
use crate::maintenance::{Alarm, Digest, Frozen, LeaseState, Maintenance, Status};
use async_trait::async_trait;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use tokio::sync::oneshot;

/// All keys.
const ALL: Keys = Keys { start: Bytes::new(), end: None, single: false };

/// Files of a store in use that stay until this is dropped.
pub struct Holding {
    disk: Arc<dyn Disk>,
    held: Held,
    shared: Arc<Shared>,
    _release: Release,
}

impl Holding {
    /// Reads the files, verifies them and compares them with what was in memory when they were held. Blocks.
    /// `progress` is told the bytes done and those to do.
    ///
    /// # Errors
    /// As [`Embedded::verify`].
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<Report, StoreError> {
        verify::verify(self.disk.as_ref(), &self.held, self.shared.history.compacted(), &mut progress)
    }
}

impl std::fmt::Debug for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holding").field("revision", &self.held.view.revision).finish_non_exhaustive()
    }
}

/// Lets files go again.
struct Release(Sender<Request>);

impl Drop for Release {
    fn drop(&mut self) {
        // After a stop there is nothing to release.
        let _ = self.0.send(Request::Release);
    }
}

impl Embedded {
    /// Writes the latest state into the new file `to`, while the store goes on. Blocks; takes as long as the
    /// file takes to write. Returns the revision that it holds.
    ///
    /// # Errors
    /// [`StoreError::Io`]; no file is left then.
    pub fn save_snapshot(&self, to: &Path) -> Result<Revision, StoreError> {
        snapshot::save(&self.shared.view.load(), to)
    }

    /// Like [`Embedded::save_snapshot`], into any directory.
    ///
    /// # Errors
    /// As [`Embedded::save_snapshot`].
    pub fn save_snapshot_on(&self, disk: &dyn Disk, name: &str) -> Result<Revision, StoreError> {
        snapshot::save_on(&self.shared.view.load(), disk, name)
    }

    /// The same as a stream of bytes, and the revision that it holds. It is made as fast as it is taken.
    ///
    /// # Errors
    /// [`StoreError::Io`] when no thread can be started.
    pub fn snapshot(&self) -> Result<(Revision, SnapshotStream), StoreError> {
        let view = self.shared.view.load_full();
        Ok((view.revision, snapshot::stream(&view)?))
    }

    /// Reads what is on the disk, verifies it and compares it with what is in memory, while the store goes on.
    /// Commits after the call are not looked at. `progress` is told the bytes done and those to do. Blocks: call it
    /// where blocking is allowed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for the first damage found, [`StoreError::Io`], [`StoreError::Closed`]. What is in
    /// memory is served on all the same.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<Report, StoreError> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| self.failure().unwrap_or(StoreError::Closed);
        self.requests.send(Request::Hold(reply)).map_err(|_| StoreError::Closed)?;
        let held = answer.blocking_recv().map_err(gone)??;
        self.holding(held).verify(progress)
    }

    /// Keeps the files as they are now from being removed, so that they can be verified while the store goes on.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn hold(&self) -> Result<Holding, StoreError> {
        self.ask(Request::Hold).await.map(|held| self.holding(held))
    }

    fn holding(&self, held: Held) -> Holding {
        let release = Release(self.requests.clone());
        Holding { disk: self.disk.clone(), held, shared: self.shared.clone(), _release: release }
    }

    /// The figures in Prometheus' text format, under etcd's names.
    pub fn render_metrics(&self) -> String {
        metrics::render(&self.stats(), self.failure().is_some())
    }
}

/// A state that never changes.
struct Frost(Arc<View>);

impl Frozen for Frost {
    fn revision(&self) -> Revision {
        self.0.revision
    }

    fn leases(&self) -> Vec<(LeaseId, i64)> {
        self.0.leases.to_vec()
    }

    fn keys(&self) -> Box<dyn Iterator<Item = &KeyValue> + '_> {
        Box::new(self.0.index.iter().filter(|slot| !slot.0.is_removal()).map(|slot| &slot.0.kv))
    }
}

#[async_trait]
impl Maintenance for Embedded {
    fn status(&self) -> Status {
        let stats = self.stats();
        Status {
            revision: stats.revision,
            compacted: stats.compacted,
            size: stats.log_bytes + stats.checkpoint_bytes,
            in_use: stats.bytes,
            quota: stats.quota,
        }
    }

    fn freeze(&self) -> Arc<dyn Frozen> {
        Arc::new(Frost(self.shared.view.load_full()))
    }

    async fn digest(&self, revision: Option<Revision>) -> Result<Digest, StoreError> {
        let view = self.shared.view.load_full();
        self.shared.check(revision, &view)?;
        let at = revision.filter(|revision| *revision > 0).unwrap_or(view.revision);
        let mut hash = 0;
        let mut after: Option<Bytes> = None;
        loop {
            let slots: Vec<Slot> = view.slots(&ALL, after.as_deref()).take(PORTION).cloned().collect();
            let Some(last) = slots.last() else { break };
            after = Some(last.0.kv.key.clone());
            for node in slots.iter().filter_map(|slot| slot.at(at)) {
                hash = digest(hash, &node.kv);
            }
            tokio::task::yield_now().await;
        }
        // Compaction may have overtaken this.
        self.shared.check(revision, &view)?;
        Ok(Digest { hash, revision: at, compacted: self.shared.history.compacted() })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.ask(Request::Leases).await
    }

    async fn lease(&self, id: LeaseId) -> Result<LeaseState, StoreError> {
        self.ask(|reply| Request::Lease(id, reply)).await
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.ask(Request::Settle).await
    }

    async fn defragment(&self) -> Result<(), StoreError> {
        self.ask(Request::Defragment).await
    }

    async fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        let mut alarms = self.shared.view.load().alarms;
        // Not in the log, which cannot be written: it goes when there is room.
        if self.shared.is_full() {
            alarms.set(Alarm::NoSpace, true);
        }
        Ok(alarms.all())
    }

    async fn raise(&self, alarm: Alarm) -> Result<(), StoreError> {
        self.ask(|reply| Request::Alarm(alarm, true, reply)).await.map(drop)
    }

    async fn disarm(&self, alarm: Alarm) -> Result<bool, StoreError> {
        self.ask(|reply| Request::Alarm(alarm, false, reply)).await
    }
}

/// Continues a digest with one key. Lengths go in first, so that no two contents read the same.
fn digest(hash: u32, kv: &KeyValue) -> u32 {
    let mut hash = hash;
    for bytes in [&kv.key, &kv.value] {
        hash = crc32c::crc32c_append(hash, &(bytes.len() as u64).to_le_bytes());
        hash = crc32c::crc32c_append(hash, bytes);
    }
    for number in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
        hash = crc32c::crc32c_append(hash, &number.to_le_bytes());
    }
    hash
}
