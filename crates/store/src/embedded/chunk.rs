//! [`each_frame`]: the frames of some files in order, read and checked by a thread of their own when there is much to
//! read, so that whoever applies them does not wait for the disk or for checksums.
//!
//! Small directories are read without the thread: its start would take longer than the reading.

use super::disk::Disk;
use super::frame::{Next, Reader};
use crate::kv::StoreError;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, scope};

/// Bytes of payload that are handed over at once, about.
const CHUNK: usize = 512 << 10;

/// Chunks that may wait.
const AHEAD: usize = 4;

/// From so many bytes on a thread reads ahead.
const LARGE: u64 = 4 << 20;

/// What was found at one place of a file.
pub(crate) struct Found<'a> {
    /// Which of the files it is in.
    pub(crate) file: usize,
    /// A frame, or how the file ends.
    pub(crate) next: &'a Next,
    /// The frame's payload.
    pub(crate) payload: &'a [u8],
    /// Where the next frame would start.
    pub(crate) end: u64,
}

/// Some frames of one file, checked.
struct Chunk {
    file: usize,
    bytes: Vec<u8>,
    frames: Vec<(Next, Range<usize>, u64)>,
}

impl Chunk {
    fn read(file: usize, reader: &mut Reader<'_>) -> io::Result<Self> {
        let mut chunk = Self { file, bytes: Vec::new(), frames: Vec::new() };
        while chunk.bytes.len() < CHUNK && !chunk.is_last() {
            let next = reader.next()?;
            let start = chunk.bytes.len();
            if matches!(next, Next::Frame { .. }) {
                chunk.bytes.extend_from_slice(reader.payload());
            }
            chunk.frames.push((next, start..chunk.bytes.len(), reader.offset()));
        }
        Ok(chunk)
    }

    /// Whether the file ends with it.
    fn is_last(&self) -> bool {
        self.frames.last().is_some_and(|(next, ..)| !matches!(next, Next::Frame { .. }))
    }

    fn hand_out(&self, take: Take<'_>) -> Result<(), StoreError> {
        for (next, range, end) in &self.frames {
            let payload = self.bytes.get(range.clone()).unwrap_or_default();
            take(Found { file: self.file, next, payload, end: *end })?;
        }
        Ok(())
    }
}

/// Takes what was found, in order; an error ends the reading.
type Take<'a> = &'a mut dyn FnMut(Found<'_>) -> Result<(), StoreError>;

/// Reads the files `names` one after the other and hands out all their frames, and how each of them ends. Damage does not
/// end the reading by itself: `take` decides.
///
/// # Errors
/// What `take` says; [`StoreError::Io`].
pub(crate) fn each_frame(disk: &dyn Disk, names: &[String], take: Take<'_>) -> Result<(), StoreError> {
    let mut size = 0;
    for name in names {
        size += disk.open(name).and_then(|file| file.size()).map_err(|error| failed(disk, name, &error))?;
    }
    if size < LARGE {
        return read(disk, names, &mut |chunk| chunk.hand_out(take));
    }
    scope(|scope| {
        let (send, receive) = sync_channel(AHEAD);
        let reader = move || read_ahead(disk, names, &send);
        match Builder::new().name("store-read".to_owned()).spawn_scoped(scope, reader) {
            Ok(_) => receive_all(&receive, take),
            // Slower, but the same.
            Err(_) => read(disk, names, &mut |chunk| chunk.hand_out(take)),
        }
    })
}

fn receive_all(chunks: &Receiver<Result<Chunk, StoreError>>, take: Take<'_>) -> Result<(), StoreError> {
    chunks.iter().try_for_each(|chunk| chunk?.hand_out(take))
}

fn read_ahead(disk: &dyn Disk, names: &[String], send: &SyncSender<Result<Chunk, StoreError>>) {
    // Nobody takes any more: that ends it, too.
    let hand_over = &mut |chunk| send.send(Ok(chunk)).map_err(|_| StoreError::Closed);
    if let Err(error) = read(disk, names, hand_over) {
        let _ = send.send(Err(error));
    }
}

fn read(
    disk: &dyn Disk,
    names: &[String],
    take: &mut dyn FnMut(Chunk) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for (at, name) in names.iter().enumerate() {
        let failed = |error: io::Error| failed(disk, name, &error);
        let file = disk.open(name).map_err(failed)?;
        let mut reader = Reader::new(file.as_ref()).map_err(failed)?;
        loop {
            let chunk = Chunk::read(at, &mut reader).map_err(failed)?;
            let is_last = chunk.is_last();
            take(chunk)?;
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

fn failed(disk: &dyn Disk, name: &str, error: &io::Error) -> StoreError {
    StoreError::Io(format!("failed to read {}: {error}", disk.describe(name)))
}
