//! Work on directories that no process uses: [`check`] one, make one of a snapshot ([`restore`]) or of anything else
//! ([`Import`]).

use super::checkpoint::{Encoder, FileSink, Item, TEMPORARY, checkpoint_name, checkpoint_revision};
use super::disk::Disk;
use super::disk::real::RealDisk;
use super::snapshot::{self, Summary};
use super::wal::segment_number;
use super::{lock, recover};
use crate::kv::{KeyValue, LeaseId, Revision, StoreError};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a directory or a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its latest revision.
    pub revision: Revision,
    /// Oldest revision that can be read.
    pub oldest: Revision,
    /// Keys that exist.
    pub keys: u64,
    /// Leases.
    pub leases: u64,
    /// Bytes on the disk that were read.
    pub bytes: u64,
}

/// Whether `dir` holds a store, in whatever condition.
pub fn is_store(dir: &Path) -> bool {
    let is_ours = |name: &String| segment_number(name).is_some() || checkpoint_revision(name).is_some();
    RealDisk::new(dir).list().is_ok_and(|names| names.iter().any(is_ours))
}

/// Reads a whole directory that no process uses and verifies every checksum and the order of all commits. Changes
/// nothing.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::Corrupt`] for the first damage found, [`StoreError::Io`].
pub fn check(dir: &Path) -> Result<Report, StoreError> {
    let disk = RealDisk::new(dir);
    let _lock = lock(&disk)?;
    let recovered = recover::read(&disk, Duration::ZERO)?;
    let sizes =
        disk.list().map(|names| names.iter().filter_map(|name| disk.open(name).ok()?.size().ok()).sum());
    Ok(Report {
        revision: recovered.state.view.revision,
        oldest: recovered.history.compacted(),
        keys: recovered.state.keys,
        leases: recovered.state.leases.len() as u64,
        bytes: sizes.unwrap_or(0),
    })
}

/// Verifies a snapshot; `progress` is told the bytes done and those to do.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is damaged, incomplete or no snapshot; [`StoreError::Io`].
pub fn summarize(file: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Summary, StoreError> {
    snapshot::read(file, &mut progress, |_| {})
}

/// Verifies a snapshot.
///
/// # Errors
/// As [`summarize`].
pub fn check_snapshot(file: &Path) -> Result<Report, StoreError> {
    summarize(file, |_, _| {}).map(|summary| summary.report)
}

/// Makes the directory `dir`, which must be empty or missing, a store with the content of a snapshot. The snapshot
/// is verified first.
///
/// # Errors
/// As [`check_snapshot`]; [`StoreError::Io`] when `dir` holds files.
pub fn restore(file: &Path, dir: &Path) -> Result<Report, StoreError> {
    restore_ahead(file, dir, 0, |_, _| {})
}

/// Like [`restore`], but the store is `ahead` revisions further than the snapshot, and its history begins there: who
/// saw later revisions of the store that the snapshot was taken of has to read anew, instead of taking what comes for
/// what it has seen. `progress` is told the bytes done and those to do.
///
/// # Errors
/// As [`restore`]; [`StoreError::Invalid`] when the revision would be negative or overflow.
pub fn restore_ahead(
    file: &Path,
    dir: &Path,
    ahead: Revision,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, StoreError> {
    let empty = Import::check_empty(dir);
    let summary = summarize(file, |done, all| progress(done, 2 * all))?;
    empty?;
    let revision = summary.report.revision.checked_add(ahead).filter(|_| ahead >= 0);
    let revision =
        revision.ok_or_else(|| StoreError::Invalid(format!("{ahead} is no number of revisions")))?;
    // Read again instead of kept: it need not fit into memory twice.
    Import::begin(dir, revision)?.fill(&mut |take| {
        snapshot::read(file, &mut |done, all| progress(all + done, 2 * all), take).map(drop)
    })
}

/// Like [`restore`], from a snapshot of ours in any directory into any other, which must be empty.
///
/// # Errors
/// As [`restore`].
pub fn restore_on(from: &dyn Disk, name: &str, to: Arc<dyn Disk>) -> Result<Report, StoreError> {
    let read = |take: &mut dyn FnMut(Item)| snapshot::read_on(from, name, &mut |_, _| {}, take);
    let revision = read(&mut |_| {})?.report.revision;
    Import::begin_on(to, revision)?.fill(&mut |take| read(take).map(drop))
}

/// Reads something and hands out what it holds.
type Source<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Item)) -> Result<(), StoreError>;

/// A new directory that is filled from elsewhere: leases first, then keys in order. Until [`Import::finish`] it is no
/// store; dropped before, it is empty again.
pub struct Import {
    dir: String,
    disk: Arc<dyn Disk>,
    out: Option<Encoder<FileSink>>,
    report: Report,
    last: Option<Bytes>,
    _lock: Box<dyn Send>,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("dir", &self.dir).field("report", &self.report).finish_non_exhaustive()
    }
}

fn failed(dir: &str, error: &io::Error) -> StoreError {
    StoreError::Io(format!("failed to write {dir}: {error}"))
}

impl Import {
    /// Whether `dir` is missing, or holds nothing but what an attempt that was interrupted left.
    ///
    /// # Errors
    /// [`StoreError::Io`] that says what is in the way.
    pub fn check_empty(dir: &Path) -> Result<(), StoreError> {
        if !dir.exists() {
            return Ok(());
        }
        Self::check_empty_disk(&RealDisk::new(dir))
    }

    fn check_empty_disk(disk: &dyn Disk) -> Result<(), StoreError> {
        let dir = disk.describe("");
        let names = disk.list().map_err(|error| failed(&dir, &error))?;
        match names.iter().find(|name| !["lock", TEMPORARY].contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(StoreError::Io(format!(
                "{dir} is not empty (it holds {name}); nothing was changed; move it away first, or name another directory",
            ))),
        }
    }

    /// Begins the store in `dir`, which must be empty or missing, at `revision`: that of the next commit is one more.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Locked`].
    pub fn begin(dir: &Path, revision: Revision) -> Result<Self, StoreError> {
        Self::check_empty(dir)?;
        let disk = RealDisk::create(dir).map_err(|error| failed(&dir.display().to_string(), &error))?;
        Self::begin_on(Arc::new(disk), revision)
    }

    /// Like [`Import::begin`], in any directory.
    ///
    /// # Errors
    /// As [`Import::begin`].
    pub fn begin_on(disk: Arc<dyn Disk>, revision: Revision) -> Result<Self, StoreError> {
        Self::check_empty_disk(disk.as_ref())?;
        let dir = disk.describe("");
        let lock = lock(disk.as_ref())?;
        let out = disk.list().and_then(|names| {
            if names.iter().any(|name| name == TEMPORARY) {
                disk.remove(TEMPORARY)?;
            }
            Encoder::new(FileSink::new(disk.create(TEMPORARY)?), revision)
        });
        let out = Some(out.map_err(|error| failed(&dir, &error))?);
        let report = Report { revision, oldest: revision, ..Report::default() };
        Ok(Self { dir, disk, out, report, last: None, _lock: lock })
    }

    /// Adds all that `source` hands out, and makes the directory a store.
    fn fill(mut self, source: Source<'_>) -> Result<Report, StoreError> {
        let mut outcome = Ok(());
        source(&mut |item| {
            if outcome.is_ok() {
                outcome = match item {
                    Item::Alarm(_) => Ok(()),
                    Item::Lease(id, ttl) => self.lease(id, ttl),
                    Item::Key(kv) => self.key(&kv),
                };
            }
        })?;
        outcome?;
        self.finish()
    }

    /// Adds a lease.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn lease(&mut self, id: LeaseId, ttl: i64) -> Result<(), StoreError> {
        self.report.leases += 1;
        let out = self.out.as_mut().ok_or(StoreError::Closed)?;
        out.lease(id, ttl).map_err(|error| failed(&self.dir, &error))
    }

    /// Adds a key with its revisions.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when keys do not come in order or a revision is later than the store's;
    /// [`StoreError::Io`].
    pub fn key(&mut self, kv: &KeyValue) -> Result<(), StoreError> {
        if self.last.as_ref().is_some_and(|last| *last >= kv.key) || kv.key.is_empty() {
            return Err(StoreError::Invalid("keys must come in ascending order".to_owned()));
        }
        if kv.mod_revision > self.report.revision || kv.version < 1 {
            let why = format!("a key has revision {}, later than the store's", kv.mod_revision);
            return Err(StoreError::Invalid(why));
        }
        self.last = Some(kv.key.clone());
        self.report.keys += 1;
        let out = self.out.as_mut().ok_or(StoreError::Closed)?;
        out.key(kv).map_err(|error| failed(&self.dir, &error))
    }

    /// Makes the directory a store, durably.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn finish(mut self) -> Result<Report, StoreError> {
        let out = self.out.take().ok_or(StoreError::Closed)?;
        let name = checkpoint_name(self.report.revision);
        let done = out.finish().and_then(|()| {
            self.report.bytes = self.disk.open(TEMPORARY)?.size()?;
            self.disk.rename(TEMPORARY, &name)?;
            self.disk.sync_dir()
        });
        match done {
            Ok(()) => Ok(self.report),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.disk.remove(TEMPORARY);
                Err(failed(&self.dir, &error))
            }
        }
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            // What stays is removed by the next attempt.
            let _ = self.disk.remove(TEMPORARY);
        }
    }
}
