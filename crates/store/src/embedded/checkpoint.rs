//! Checkpoints: files `checkpoint-<revision>` with the state at one revision, so that the log before it can go.
//! A snapshot that `store snapshot save` writes is the same file at the latest revision.
//!
//! Frames number from 0: a header, leases and keys in order, a footer with their number and a digest over all
//! payloads. The file gets its name only when it is complete and durable.

use super::disk::Disk;
use super::frame::{self, Next, Reader};
use super::record::{Decoder, FORMAT, Record};
use super::view::{Keys, View};
use crate::kv::{KeyValue, LeaseId, Revision, StoreError};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Payload of a frame, about.
const BLOCK: usize = 256 << 10;

/// Bytes between two syncs: small enough that the log's own syncs do not queue behind a long one.
const SYNC_EVERY: u64 = 8 << 20;

const PREFIX: &str = "checkpoint-";

/// Name of a checkpoint that is being written.
pub(crate) const TEMPORARY: &str = "checkpoint.tmp";

/// File name of a checkpoint.
pub(crate) fn checkpoint_name(revision: Revision) -> String {
    format!("{PREFIX}{revision:016x}")
}

/// Revision of the checkpoint with this file name.
pub(crate) fn checkpoint_revision(name: &str) -> Option<Revision> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 16).then(|| Revision::from_str_radix(digits, 16).ok()).flatten()
}

/// A checkpoint to write.
pub(crate) struct Job {
    pub(crate) disk: Arc<dyn Disk>,
    /// At `revision` or later; history since `revision` must stay until the job is done.
    pub(crate) view: View,
    pub(crate) revision: Revision,
    /// Set when nobody wants it any more.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Writes the checkpoint durably under its name.
    pub(crate) fn run(&self) -> io::Result<()> {
        let disk = self.disk.as_ref();
        if disk.list()?.iter().any(|name| name == TEMPORARY) {
            disk.remove(TEMPORARY)?;
        }
        let written =
            self.write(TEMPORARY).and_then(|()| disk.rename(TEMPORARY, &checkpoint_name(self.revision)));
        if let Err(error) = written {
            // What is left of it is removed at the next attempt or start.
            let _ = disk.remove(TEMPORARY);
            return Err(error);
        }
        disk.sync_dir()
    }

    /// Writes the checkpoint as the new file `name`; its content is durable, its name not yet.
    pub(crate) fn write(&self, name: &str) -> io::Result<()> {
        let mut out = Writer::new(self.disk.create(name)?);
        out.record(&Record::Checkpoint { format: FORMAT, revision: self.revision })?;
        for (id, ttl) in self.view.leases.iter() {
            out.record(&Record::Grant { id: *id, ttl: *ttl })?;
        }
        let mut count = 0;
        let all = Keys { start: Bytes::new(), end: None, single: false };
        for node in self.view.slots(&all, None).filter_map(|slot| slot.at(self.revision)) {
            let kv = &node.kv;
            count += 1;
            out.record(&Record::Key {
                key: &kv.key,
                value: &kv.value,
                create: kv.create_revision,
                modified: kv.mod_revision,
                version: kv.version,
                lease: kv.lease,
            })?;
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        out.finish(count, self.view.leases.len() as u64)
    }
}

struct Writer {
    file: Box<dyn super::disk::File>,
    offset: u64,
    synced: u64,
    sequence: u64,
    digest: u32,
    frame: Vec<u8>,
}

impl Writer {
    fn new(file: Box<dyn super::disk::File>) -> Self {
        Self { file, offset: 0, synced: 0, sequence: 0, digest: 0, frame: vec![0; frame::HEADER] }
    }

    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        record.encode(&mut self.frame);
        if self.frame.len() > BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.digest = crc32c::crc32c_append(self.digest, &self.frame[frame::HEADER..]);
        frame::seal(&mut self.frame, 0, self.sequence);
        self.file.write_at(self.offset, &self.frame)?;
        self.offset += self.frame.len() as u64;
        self.sequence += 1;
        self.frame.truncate(frame::HEADER);
        if self.offset - self.synced >= SYNC_EVERY {
            self.file.sync()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    fn finish(mut self, keys: u64, leases: u64) -> io::Result<()> {
        if self.frame.len() > frame::HEADER {
            self.flush()?;
        }
        let digest = self.digest;
        Record::Footer { keys, leases, digest }.encode(&mut self.frame);
        self.flush()?;
        self.file.sync()
    }
}

/// What a checkpoint holds, one after the other.
pub(crate) enum Item {
    Lease(LeaseId, i64),
    Key(KeyValue),
}

/// Reads the checkpoint `name`, every checksum verified, and hands its content to `take`. Returns its revision.
///
/// # Errors
/// [`StoreError::Corrupt`] when anything does not check, an incomplete file included.
pub(crate) fn load(disk: &dyn Disk, name: &str, mut take: impl FnMut(Item)) -> Result<Revision, StoreError> {
    let corrupt = |offset: u64, why: &str| StoreError::Corrupt {
        file: disk.describe(name),
        offset,
        why: why.to_owned(),
    };
    let failed =
        |error: io::Error| StoreError::Io(format!("failed to read {}: {error}", disk.describe(name)));
    let file = disk.open(name).map_err(failed)?;
    let mut reader = Reader::new(file.as_ref()).map_err(failed)?;
    let mut revision = None;
    let (mut keys, mut leases, mut digest, mut expected) = (0, 0, 0, 0);
    loop {
        let offset = match reader.next().map_err(failed)? {
            Next::Frame { sequence, offset } if sequence == expected => offset,
            Next::Frame { offset, .. } => return Err(corrupt(offset, "a block is missing")),
            Next::End | Next::Torn => return Err(corrupt(reader.offset(), "the file is incomplete")),
            Next::Damaged(why) => return Err(corrupt(reader.offset(), why)),
        };
        expected += 1;
        for record in Decoder(reader.payload()) {
            match record.map_err(|why| corrupt(offset, why))? {
                Record::Checkpoint { format: FORMAT, revision: at } if revision.is_none() => {
                    revision = Some(at)
                }
                Record::Checkpoint { .. } => return Err(corrupt(offset, "written by a newer version")),
                Record::Grant { id, ttl } => {
                    leases += 1;
                    take(Item::Lease(id, ttl));
                }
                Record::Key { key, value, create, modified, version, lease } => {
                    keys += 1;
                    take(Item::Key(key_value(key, value, create, modified, version, lease)));
                }
                Record::Footer { keys: k, leases: l, digest: d } => {
                    let Some(revision) = revision.filter(|_| (k, l, d) == (keys, leases, digest)) else {
                        return Err(corrupt(offset, "the content does not match the digest at its end"));
                    };
                    if !matches!(reader.next().map_err(failed)?, Next::End) {
                        return Err(corrupt(reader.offset(), "something follows the end"));
                    }
                    return Ok(revision);
                }
                _ => return Err(corrupt(offset, "a record that does not belong into a checkpoint")),
            }
        }
        digest = crc32c::crc32c_append(digest, reader.payload());
    }
}

/// One allocation for key and value: nothing of the read buffer is kept.
fn key_value(
    key: &[u8],
    value: &[u8],
    create_revision: Revision,
    mod_revision: Revision,
    version: i64,
    lease: LeaseId,
) -> KeyValue {
    let mut both = Vec::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let mut value = Bytes::from(both);
    let key = value.split_to(key.len());
    KeyValue { key, value, create_revision, mod_revision, version, lease }
}
