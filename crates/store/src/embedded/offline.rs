//! Verification and snapshots: [`check`] a directory, [`check_snapshot`] a file, [`restore`] a snapshot into a new
//! directory. (Saving one is [`super::Embedded::save_snapshot`].)

use super::checkpoint::{self, Item, Job, checkpoint_name};
use super::disk::Disk;
use super::disk::real::RealDisk;
use super::shared::Shared;
use super::view::View;
use super::{lock, recover};
use crate::kv::{Revision, StoreError};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    Ok(Report {
        revision: recovered.state.view.revision,
        oldest: recovered.history.compacted(),
        keys: recovered.state.keys,
        leases: recovered.state.leases.len() as u64,
    })
}

/// Splits a path into a disk on its directory, and the file's name.
fn locate(path: &Path) -> Result<(RealDisk, String), StoreError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| StoreError::Io(format!("{} does not name a file", path.display())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((RealDisk::new(parent), name.to_owned()))
}

/// Verifies a snapshot.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is damaged, incomplete or no snapshot; [`StoreError::Io`].
pub fn check_snapshot(file: &Path) -> Result<Report, StoreError> {
    let (disk, name) = locate(file)?;
    let mut report = Report::default();
    let revision = checkpoint::load(&disk, &name, |item| match item {
        Item::Lease(..) => report.leases += 1,
        Item::Key(_) => report.keys += 1,
    })?;
    Ok(Report { revision, oldest: revision, ..report })
}

pub(super) fn save(shared: &Shared, to: &Path) -> Result<Revision, StoreError> {
    let failed = |error: io::Error| StoreError::Io(format!("failed to write {}: {error}", to.display()));
    let (disk, name) = locate(to)?;
    if to.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let view = shared.view.load_full();
    let revision = view.revision;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let temporary = format!("{name}.tmp");
    let job = Job {
        disk: disk.clone(),
        view: View::clone(&view),
        revision,
        cancelled: Arc::new(AtomicBool::new(false)),
    };
    let written = job.write(&temporary).and_then(|()| disk.rename(&temporary, &name));
    if let Err(error) = written.and_then(|()| disk.sync_dir()) {
        // The first error is the one to report.
        let _ = disk.remove(&temporary);
        return Err(failed(error));
    }
    Ok(revision)
}

/// Makes the directory `dir`, which must be empty or missing, a store with the content of a snapshot. The snapshot
/// is verified first.
///
/// # Errors
/// As [`check_snapshot`]; [`StoreError::Io`] when `dir` holds files.
pub fn restore(snapshot: &Path, dir: &Path) -> Result<Report, StoreError> {
    let failed =
        |error: io::Error| StoreError::Io(format!("failed to restore into {}: {error}", dir.display()));
    let report = check_snapshot(snapshot)?;
    let disk = RealDisk::create(dir).map_err(failed)?;
    if !disk.list().map_err(failed)?.is_empty() {
        let why = "the directory is not empty; move its content away first";
        return Err(failed(io::Error::other(why)));
    }
    let _lock = lock(&disk)?;
    let temporary = dir.join(checkpoint::TEMPORARY);
    fs::copy(snapshot, &temporary).map_err(failed)?;
    let copied = fs::File::open(&temporary).and_then(|file| file.sync_all());
    copied.map_err(failed)?;
    disk.rename(checkpoint::TEMPORARY, &checkpoint_name(report.revision)).map_err(failed)?;
    disk.sync_dir().map_err(failed)?;
    Ok(report)
}
