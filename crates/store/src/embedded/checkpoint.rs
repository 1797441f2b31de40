//! Checkpoints: files `checkpoint-<revision>` with the state at one revision, so that the log before it can go.
//! A snapshot that `store snapshot save` writes is the same at the latest revision, with a hash behind it.
//!
//! Frames number from 0: a header, leases and keys in order, a footer with their number and a digest over all
//! payloads. The file gets its name only when it is complete and durable.

use super::alarm;
use super::chunk::each_frame;
use super::disk::Disk;
use super::frame::{self, Next, Reader};
use super::record::{Decoder, FORMAT, Record};
use super::view::{Keys, View};
use crate::kv::{KeyValue, LeaseId, Revision, StoreError};
use crate::maintenance::Alarm;
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

    fn write(&self, name: &str) -> io::Result<()> {
        let mut sink = FileSink::new(self.disk.create(name)?);
        let is_cancelled = || self.cancelled.load(Ordering::Relaxed);
        encode_view(&self.view, self.revision, &mut sink, is_cancelled)
    }
}

/// Writes the state of `view` at `revision`, alarms included. What it writes is durable when the sink says so.
pub(crate) fn encode_view(
    view: &View,
    revision: Revision,
    sink: &mut impl Sink,
    is_cancelled: impl Fn() -> bool,
) -> io::Result<()> {
    let mut out = Encoder::new(sink, revision)?;
    for alarm in view.alarms.all() {
        out.alarm(alarm)?;
    }
    for (id, ttl) in view.leases.iter() {
        out.lease(*id, *ttl)?;
    }
    let all = Keys { start: Bytes::new(), end: None, single: false };
    for node in view.slots(&all, None).filter_map(|slot| slot.at(revision)) {
        out.key(&node.kv)?;
        if is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    out.finish()
}

/// Where the bytes of a checkpoint go.
pub(crate) trait Sink {
    /// Appends.
    fn write(&mut self, data: &[u8]) -> io::Result<()>;
    /// There is no more; what can be made durable is made durable.
    fn finish(&mut self) -> io::Result<()>;
}

impl<S: Sink> Sink for &mut S {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        (**self).write(data)
    }

    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }
}

/// A file, synced every now and then.
pub(crate) struct FileSink {
    file: Box<dyn super::disk::File>,
    offset: u64,
    synced: u64,
}

impl FileSink {
    /// Writes `file`, which must be empty.
    pub(crate) fn new(file: Box<dyn super::disk::File>) -> Self {
        Self { file, offset: 0, synced: 0 }
    }
}

impl Sink for FileSink {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_at(self.offset, data)?;
        self.offset += data.len() as u64;
        if self.offset - self.synced >= SYNC_EVERY {
            self.file.sync()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Writes a checkpoint piece by piece: leases, then keys in ascending order, then [`Encoder::finish`].
pub(crate) struct Encoder<S: Sink> {
    sink: S,
    sequence: u64,
    digest: u32,
    keys: u64,
    leases: u64,
    frame: Vec<u8>,
}

impl<S: Sink> Encoder<S> {
    /// Begins the checkpoint of `revision`.
    pub(crate) fn new(sink: S, revision: Revision) -> io::Result<Self> {
        let frame = vec![0; frame::HEADER];
        let mut encoder = Self { sink, sequence: 0, digest: 0, keys: 0, leases: 0, frame };
        encoder.record(&Record::Checkpoint { format: FORMAT, revision })?;
        Ok(encoder)
    }

    /// Adds an alarm that is set.
    pub(crate) fn alarm(&mut self, alarm: Alarm) -> io::Result<()> {
        self.record(&Record::Alarm { kind: alarm::number(alarm), is_set: true })
    }

    /// Adds a lease.
    pub(crate) fn lease(&mut self, id: LeaseId, ttl: i64) -> io::Result<()> {
        self.leases += 1;
        self.record(&Record::Grant { id, ttl })
    }

    /// Adds a key.
    pub(crate) fn key(&mut self, kv: &KeyValue) -> io::Result<()> {
        self.keys += 1;
        self.record(&Record::Key {
            key: &kv.key,
            value: &kv.value,
            create: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        })
    }

    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        record.encode(&mut self.frame);
        if self.frame.len() > BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.digest = crc32c::crc32c_append(self.digest, &self.frame[frame::HEADER..]);
        frame::seal(&mut self.frame, 0, self.sequence);
        self.sink.write(&self.frame)?;
        self.sequence += 1;
        self.frame.truncate(frame::HEADER);
        Ok(())
    }

    /// Ends the checkpoint.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.frame.len() > frame::HEADER {
            self.flush()?;
        }
        let Self { keys, leases, digest, .. } = self;
        Record::Footer { keys, leases, digest }.encode(&mut self.frame);
        self.flush()?;
        self.sink.finish()
    }
}

/// What a checkpoint holds, one after the other.
pub(crate) enum Item {
    Alarm(Alarm),
    Lease(LeaseId, i64),
    Key(KeyValue),
}

/// Reads the checkpoint `name`, every checksum verified, and hands its content to `take`. Returns its revision.
///
/// # Errors
/// [`StoreError::Corrupt`] when anything does not check, an incomplete file included.
pub(crate) fn load(disk: &dyn Disk, name: &str, mut take: impl FnMut(Item)) -> Result<Revision, StoreError> {
    let mut content = Content::new(disk, name);
    each_frame(disk, &[name.to_owned()], &mut |found| {
        content.add(found.next, found.payload, found.end, &mut take)
    })?;
    content.revision()
}

/// Like [`load`], from a reader of the file.
pub(crate) fn decode(
    disk: &dyn Disk,
    name: &str,
    mut reader: Reader<'_>,
    mut take: impl FnMut(Item),
) -> Result<Revision, StoreError> {
    let mut content = Content::new(disk, name);
    while !content.is_over {
        let next = reader.next();
        let next =
            next.map_err(|error| StoreError::Io(format!("failed to read {}: {error}", disk.describe(name))))?;
        content.add(&next, reader.payload(), reader.offset(), &mut take)?;
    }
    content.revision()
}

/// What was read of a checkpoint so far.
struct Content<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    revision: Option<Revision>,
    keys: u64,
    leases: u64,
    digest: u32,
    /// Sequence number of the next frame.
    expected: u64,
    /// The footer was read, and is right.
    is_complete: bool,
    is_over: bool,
}

impl<'a> Content<'a> {
    fn new(disk: &'a dyn Disk, name: &'a str) -> Self {
        Self {
            disk,
            name,
            revision: None,
            keys: 0,
            leases: 0,
            digest: 0,
            expected: 0,
            is_complete: false,
            is_over: false,
        }
    }

    fn corrupt(&self, offset: u64, why: &str) -> StoreError {
        StoreError::Corrupt { file: self.disk.describe(self.name), offset, why: why.to_owned() }
    }

    /// The revision, when all of it was read.
    fn revision(&self) -> Result<Revision, StoreError> {
        let whole = self.revision.filter(|_| self.is_complete && self.is_over);
        whole.ok_or_else(|| self.corrupt(0, "the file is incomplete"))
    }

    /// Takes the next frame, or the end of the file; `end` is where it ends.
    fn add(
        &mut self,
        next: &Next,
        payload: &[u8],
        end: u64,
        take: &mut dyn FnMut(Item),
    ) -> Result<(), StoreError> {
        let offset = match next {
            Next::End if self.is_complete => {
                self.is_over = true;
                return Ok(());
            }
            _ if self.is_complete => return Err(self.corrupt(end, "something follows the end")),
            Next::Frame { sequence, offset } if *sequence == self.expected => *offset,
            Next::Frame { offset, .. } => return Err(self.corrupt(*offset, "a block is missing")),
            Next::End | Next::Torn => return Err(self.corrupt(end, "the file is incomplete")),
            Next::Damaged(why) => return Err(self.corrupt(end, why)),
        };
        self.expected += 1;
        for record in Decoder(payload) {
            if self.is_complete {
                return Err(self.corrupt(offset, "something follows the end"));
            }
            let record = record.map_err(|why| self.corrupt(offset, why))?;
            self.record(&record, offset, take)?;
        }
        self.digest = crc32c::crc32c_append(self.digest, payload);
        Ok(())
    }

    fn record(
        &mut self,
        record: &Record<'_>,
        offset: u64,
        take: &mut dyn FnMut(Item),
    ) -> Result<(), StoreError> {
        match *record {
            Record::Checkpoint { format: FORMAT, revision } if self.revision.is_none() => {
                self.revision = Some(revision);
            }
            Record::Checkpoint { .. } => return Err(self.corrupt(offset, "written by a newer version")),
            Record::Alarm { kind, .. } => {
                let alarm = alarm::from_number(kind);
                take(Item::Alarm(alarm.ok_or_else(|| self.corrupt(offset, "an unknown alarm"))?));
            }
            Record::Grant { id, ttl } => {
                self.leases += 1;
                take(Item::Lease(id, ttl));
            }
            Record::Key { key, value, create, modified, version, lease } => {
                self.keys += 1;
                take(Item::Key(key_value(key, value, create, modified, version, lease)));
            }
            Record::Footer { keys, leases, digest } => {
                let is_right = (keys, leases, digest) == (self.keys, self.leases, self.digest);
                if !is_right || self.revision.is_none() {
                    return Err(self.corrupt(offset, "the content does not match the digest at its end"));
                }
                self.is_complete = true;
            }
            _ => return Err(self.corrupt(offset, "a record that does not belong into a checkpoint")),
        }
        Ok(())
    }
}

/// Copies, so that nothing of the read buffer is kept. Two, because the key outlives its first value.
fn key_value(
    key: &[u8],
    value: &[u8],
    create_revision: Revision,
    mod_revision: Revision,
    version: i64,
    lease: LeaseId,
) -> KeyValue {
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    KeyValue { key, value, create_revision, mod_revision, version, lease }
}
