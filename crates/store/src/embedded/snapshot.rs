//! Snapshots: the latest state in one file that can be checked without anything else.
//!
//! A snapshot is a checkpoint (see `checkpoint`) without alarms, because these say something of one directory and not of the
//! data, and behind it the SHA-256 of everything before. It is made from the immutable map of the moment it was asked
//! for, piece by piece, at the pace of who takes it; no writer waits for it.

use super::checkpoint::{self, FileSink, Item, Sink, encode_view};
use super::disk::real::RealDisk;
use super::disk::{Disk, File};
use super::frame::Reader;
use super::offline::Report;
use super::view::View;
use crate::bolt;
use crate::kv::{Revision, StoreError};
use bytes::Bytes;
use futures::stream::BoxStream;
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use std::thread::Builder;
use tokio::sync::mpsc;

/// Length of the hash at the end.
pub(crate) const HASH: usize = 32;

/// Pieces that wait for who takes them.
const WAITING: usize = 4;

/// Bytes read at a time when a file is verified.
const READ: usize = 1 << 20;

/// The bytes of a snapshot in order; ends after an error.
pub type SnapshotStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What it holds.
    pub report: Report,
    /// SHA-256 of its content, as it stands at its end.
    pub hash: [u8; HASH],
}

/// Adds the hash at the end.
pub(crate) struct Hashed<S: Sink> {
    inner: S,
    hasher: Sha256,
}

impl<S: Sink> Hashed<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, hasher: Sha256::new() }
    }
}

impl<S: Sink> Sink for Hashed<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.hasher.update(data);
        self.inner.write(data)
    }

    fn finish(&mut self) -> io::Result<()> {
        let hash = std::mem::take(&mut self.hasher).finalize();
        self.inner.write(&hash)?;
        self.inner.finish()
    }
}

/// Hands pieces to a stream; fails when nobody takes them any more.
struct Pieces(mpsc::Sender<Result<Bytes, StoreError>>);

impl Sink for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(data)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn without_alarms(view: &View) -> View {
    View { alarms: super::alarm::Alarms::default(), ..view.clone() }
}

/// The snapshot of `view` as a stream. A thread of its own makes it, because hashing is work.
pub(super) fn stream(view: &View) -> Result<SnapshotStream, StoreError> {
    let (pieces, taken) = mpsc::channel(WAITING);
    let view = without_alarms(view);
    let failed = pieces.clone();
    let work = move || {
        let mut sink = Hashed::new(Pieces(pieces));
        if let Err(error) = encode_view(&view, view.revision, &mut sink, || false) {
            let error = StoreError::Io(format!("failed to make the snapshot: {error}"));
            // Nobody is there when that was the reason.
            let _ = failed.blocking_send(Err(error));
        }
    };
    let thread = Builder::new().name("store-snapshot".to_owned()).spawn(work);
    thread.map_err(|error| StoreError::Io(format!("failed to start a thread for the snapshot: {error}")))?;
    Ok(Box::pin(futures::stream::unfold(taken, |mut taken| async move {
        taken.recv().await.map(|piece| (piece, taken))
    })))
}

/// Splits a path into a disk on its directory, and the file's name.
pub(super) fn locate(path: &Path) -> Result<(RealDisk, String), StoreError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| StoreError::Io(format!("{} does not name a file", path.display())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((RealDisk::new(parent), name.to_owned()))
}

/// Writes the snapshot of `view` as the new file `to`, which is there when it is complete.
pub(super) fn save(view: &View, to: &Path) -> Result<Revision, StoreError> {
    let (disk, name) = locate(to)?;
    save_on(view, &disk, &name)
}

/// Like [`save`], into any directory.
pub(super) fn save_on(view: &View, disk: &dyn Disk, name: &str) -> Result<Revision, StoreError> {
    let failed =
        |error: io::Error| StoreError::Io(format!("failed to write {}: {error}", disk.describe(name)));
    if disk.list().map_err(failed)?.iter().any(|other| other == name) {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let temporary = format!("{name}.tmp");
    let view = without_alarms(view);
    let write = || {
        let mut sink = Hashed::new(FileSink::new(disk.create(&temporary)?));
        encode_view(&view, view.revision, &mut sink, || false)?;
        disk.rename(&temporary, name)?;
        disk.sync_dir()
    };
    write().map_err(|error| {
        // The first error is the one to report.
        let _ = disk.remove(&temporary);
        failed(error)
    })?;
    Ok(view.revision)
}

/// Reads a snapshot and verifies its hash, every checksum and its order; hands its content to `take`. `progress` is
/// told the bytes done, of all that are to be read.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is damaged, incomplete or no snapshot; [`StoreError::Io`].
pub(super) fn read(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
    take: impl FnMut(Item),
) -> Result<Summary, StoreError> {
    let (disk, name) = locate(path)?;
    let failed = |error: io::Error| StoreError::Io(format!("failed to read {}: {error}", path.display()));
    if bolt::is_bolt(path).map_err(failed)? {
        let file = disk.open(&name).map_err(failed)?;
        let size = file.size().map_err(failed)?;
        return etcd_database(path, file.as_ref(), size, take);
    }
    read_on(&disk, &name, progress, take)
}

/// Like [`read`], from any directory; only snapshots of ours.
pub(super) fn read_on(
    disk: &dyn Disk,
    name: &str,
    progress: &mut dyn FnMut(u64, u64),
    mut take: impl FnMut(Item),
) -> Result<Summary, StoreError> {
    let failed =
        |error: io::Error| StoreError::Io(format!("failed to read {}: {error}", disk.describe(name)));
    let file = disk.open(name).map_err(failed)?;
    let size = file.size().map_err(failed)?;
    let corrupt = |offset: u64, why: &str| StoreError::Corrupt {
        file: disk.describe(name),
        offset,
        why: why.to_owned(),
    };
    let content = match size.checked_sub(HASH as u64) {
        Some(content) if content > 0 => content,
        _ => return Err(corrupt(0, "it is too short for a snapshot")),
    };
    if let Some(why) = foreign(file.as_ref()).map_err(failed)? {
        return Err(corrupt(0, why));
    }
    let found = hash(file.as_ref(), content, &mut |done| progress(done, 2 * content)).map_err(failed)?;
    let mut stated = [0; HASH];
    read_exactly(file.as_ref(), content, &mut stated).map_err(failed)?;
    if found != stated {
        return Err(corrupt(content, "its content does not match the hash at its end"));
    }
    let reader = Reader::limited(file.as_ref(), content).map_err(failed)?;
    let mut report = Report { bytes: size, ..Report::default() };
    let mut done = content;
    let revision = checkpoint::decode(disk, name, reader, |item| {
        match &item {
            Item::Alarm(_) => {}
            Item::Lease(..) => report.leases += 1,
            Item::Key(kv) => {
                report.keys += 1;
                done += (kv.key.len() + kv.value.len()) as u64;
                if report.keys.is_multiple_of(1024) {
                    progress(done, 2 * content);
                }
            }
        }
        take(item);
    })?;
    Ok(Summary { report: Report { revision, oldest: revision, ..report }, hash: found })
}

/// Reads a database or snapshot of etcd (which our front sends too) in the place of a snapshot of ours.
fn etcd_database(
    path: &Path,
    file: &dyn File,
    size: u64,
    mut take: impl FnMut(Item),
) -> Result<Summary, StoreError> {
    let bolt::Contents { revision, leases, keys } = bolt::read(path)?;
    // A database file that no snapshot was made of ends without a hash.
    let content = size - if size % 512 == HASH as u64 { HASH as u64 } else { 0 };
    let failed = |error: io::Error| StoreError::Io(format!("failed to read {}: {error}", path.display()));
    let hash = hash(file, content, &mut |_| {}).map_err(failed)?;
    let (key_count, lease_count) = (keys.len() as u64, leases.len() as u64);
    leases.into_iter().for_each(|(id, ttl)| take(Item::Lease(id, ttl)));
    keys.into_values().for_each(|kv| take(Item::Key(kv)));
    let report = Report { revision, oldest: revision, keys: key_count, leases: lease_count, bytes: size };
    Ok(Summary { report, hash })
}

/// Why the file is something else than a snapshot of ours, if it is.
fn foreign(file: &dyn File) -> io::Result<Option<&'static str>> {
    let mut head = [0; 20];
    if read_exactly(file, 0, &mut head).is_err() {
        return Ok(Some("it is too short for a snapshot"));
    }
    // bbolt's magic number, after the header of its first page.
    if head[16..20] == 0xED0C_DAED_u32.to_le_bytes() {
        return Ok(Some("it is a database of etcd whose first page is damaged"));
    }
    let is_ours = head.starts_with(&super::frame::MAGIC);
    Ok((!is_ours).then_some("it is not a snapshot of 'windlass store snapshot save'"))
}

fn read_exactly(file: &dyn File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(offset + done as u64, &mut buffer[done..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// SHA-256 of the first `len` bytes.
fn hash(file: &dyn File, len: u64, progress: &mut dyn FnMut(u64)) -> io::Result<[u8; HASH]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ];
    let mut offset = 0;
    while offset < len {
        let want = (len - offset).min(READ as u64) as usize;
        read_exactly(file, offset, &mut buffer[..want])?;
        hasher.update(&buffer[..want]);
        offset += want as u64;
        progress(offset);
    }
    Ok(hasher.finalize().into())
}
