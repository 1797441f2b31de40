//! [`Wal`]: the log: segments `wal-<number>` of frames, the last of which is written to.
//!
//! Every segment starts with a frame that says its number and the revision before it. A segment is durable, name
//! included, before anything is acknowledged from it.

use super::disk::{Disk, File};
use super::frame::{self, Next, Reader};
use super::record::{FORMAT, Record};
use crate::kv::Revision;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Buffers larger than this are given back after a large commit.
const KEEP_BUFFER: usize = 1 << 20;

const PREFIX: &str = "wal-";

/// File name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// Number of the segment with this file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// What has to fit behind the log before it counts as having room again.
const ROOM: usize = 64 << 10;

/// A segment that is not written to any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// Revision of its last commit, or of the one before it.
    pub(crate) last: Revision,
}

/// A file that could not be written, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) file: String,
    pub(crate) error: io::Error,
}

/// The log.
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    file: Box<dyn File>,
    number: u64,
    offset: u64,
    /// Where the last frame starts.
    last: u64,
    /// Of the next frame.
    sequence: u64,
    segment_bytes: u64,
    /// Revision before the segment that is written to.
    start: Revision,
    /// Revision of the last commit.
    revision: Revision,
    /// The frame that is being built: room for a header, then payload.
    frame: Vec<u8>,
    /// Size of the frame that could not be written.
    wanted: usize,
    /// A next segment was begun in vain, and its name may come back after a crash.
    has_remains: bool,
    /// Oldest first.
    pub(crate) sealed: Vec<Sealed>,
}

/// Where a log goes on.
pub(crate) struct Position {
    pub(crate) number: u64,
    pub(crate) offset: u64,
    /// Where the last frame before it starts.
    pub(crate) last: u64,
    pub(crate) sequence: u64,
    /// Revision before the segment.
    pub(crate) start: Revision,
    pub(crate) revision: Revision,
    pub(crate) sealed: Vec<Sealed>,
}

impl Wal {
    /// Goes on in an existing segment.
    pub(crate) fn resume(disk: Arc<dyn Disk>, at: Position, segment_bytes: u64) -> io::Result<Self> {
        let file = disk.open(&segment_name(at.number))?;
        Ok(Self::with(disk, file, at, segment_bytes))
    }

    /// Goes on in a new segment.
    pub(crate) fn create(disk: Arc<dyn Disk>, mut at: Position, segment_bytes: u64) -> io::Result<Self> {
        let file;
        (file, at.offset) = new_segment(disk.as_ref(), at.number, at.sequence, at.revision)?;
        at.sequence += 1;
        at.start = at.revision;
        at.last = 0;
        Ok(Self::with(disk, file, at, segment_bytes))
    }

    fn with(disk: Arc<dyn Disk>, file: Box<dyn File>, at: Position, segment_bytes: u64) -> Self {
        let Position { number, offset, last, sequence, start, revision, sealed } = at;
        let frame = vec![0; frame::HEADER];
        let (wanted, has_remains) = (0, false);
        Self {
            disk,
            file,
            number,
            offset,
            last,
            sequence,
            segment_bytes,
            start,
            revision,
            frame,
            wanted,
            has_remains,
            sealed,
        }
    }

    /// Where the records of the next frame are appended.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// Bytes of the records of the next frame.
    pub(crate) fn pending(&self) -> usize {
        self.frame.len() - frame::HEADER
    }

    /// Bytes of all segments.
    pub(crate) fn size(&self) -> u64 {
        self.offset + self.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// The segment that is written to: its number, and the end of what is durable of it.
    pub(crate) fn end(&self) -> (u64, u64) {
        (self.number, self.offset)
    }

    /// Makes the next frame, whose last commit is `revision`, durable; returns how long the sync took. After an
    /// error the log must not be used any more, unless [`Wal::recover`] can: what is on the disk is not known.
    pub(crate) fn append(&mut self, revision: Revision) -> Result<Duration, Failure> {
        // Only before a commit: what else a segment says is in every checkpoint that is later than its commits.
        if self.offset + self.frame.len() as u64 > self.segment_bytes
            && self.revision < revision
            && let Err(failure) = self.rotate()
        {
            self.drop_frame();
            return Err(failure);
        }
        let took = self.write().map_err(|error| self.give_up(error))?;
        self.sequence += 1;
        self.last = self.offset;
        self.offset += self.frame.len() as u64;
        self.revision = revision;
        self.frame.truncate(frame::HEADER);
        self.frame.shrink_to(KEEP_BUFFER);
        Ok(took)
    }

    fn write(&mut self) -> io::Result<Duration> {
        if self.pending() >= frame::MAX_PAYLOAD {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.sweep()?;
        frame::seal(&mut self.frame, 0, self.sequence);
        self.file.write_at(self.offset, &self.frame)?;
        let start = Instant::now();
        self.file.sync()?;
        Ok(start.elapsed())
    }

    fn give_up(&mut self, error: io::Error) -> Failure {
        self.drop_frame();
        self.failure(self.number, error)
    }

    /// The frame that was being built is not written any more.
    fn drop_frame(&mut self) {
        self.wanted = self.frame.len();
        self.frame.truncate(frame::HEADER);
        self.frame.shrink_to(KEEP_BUFFER);
    }

    fn failure(&self, number: u64, error: io::Error) -> Failure {
        Failure { file: self.disk.describe(&segment_name(number)), error }
    }

    /// Begins a new segment, if the one that is written to holds a commit. After an error the log is as before; it is
    /// written to when nothing can come back of what was begun.
    pub(crate) fn rotate(&mut self) -> Result<(), Failure> {
        if self.revision == self.start {
            return Ok(());
        }
        self.sweep().map_err(|error| self.failure(self.number + 1, error))?;
        let number = self.number + 1;
        let made = new_segment(self.disk.as_ref(), number, self.sequence, self.revision);
        let (file, offset) = made.map_err(|error| {
            self.has_remains = true;
            // If this fails it is tried again before anything is written.
            let _ = self.sweep();
            self.failure(number, error)
        })?;
        self.sealed.push(Sealed { number: self.number, bytes: self.offset, last: self.revision });
        self.file = file;
        self.offset = offset;
        self.last = 0;
        self.number = number;
        self.start = self.revision;
        self.sequence += 1;
        Ok(())
    }

    /// Goes on after [`Wal::append`] failed because the disk was full: takes what that may have left off the disk, makes
    /// the last frame durable again, and sees whether there is room. After an error it can
    /// be tried again if the disk is still full.
    pub(crate) fn recover(&mut self) -> Result<(), Failure> {
        let room = self.wanted.max(ROOM);
        self.clean(room).map_err(|error| self.failure(self.number, error))
    }

    /// Removes what is left of a segment that was begun in vain, durably. Where it is, this one would count as complete.
    fn sweep(&mut self) -> io::Result<()> {
        if self.has_remains {
            let next = segment_name(self.number + 1);
            if self.disk.list()?.contains(&next) {
                self.disk.remove(&next)?;
            }
            self.disk.sync_dir()?;
            self.has_remains = false;
        }
        Ok(())
    }

    fn clean(&mut self, room: usize) -> io::Result<()> {
        self.sweep()?;
        let mut file = self.disk.open(&segment_name(self.number))?;
        // Durable before anything is written there: remains of two attempts on top of each other look like damage.
        file.set_len(self.offset)?;
        file.sync()?;
        let last = self.read_last(file.as_ref())?;
        file.write_at(self.last, &last)?;
        let written = file.write_at(self.offset, &vec![0; room]).and_then(|()| file.sync());
        let cut = file.set_len(self.offset).and_then(|()| file.sync());
        written.and(cut)?;
        self.file = file;
        Ok(())
    }

    /// The bytes of the last frame, which must check.
    fn read_last(&self, file: &dyn File) -> io::Result<Vec<u8>> {
        let mut reader = Reader::limited(file, self.offset)?.starting(self.last);
        let is_whole = matches!(reader.next()?, Next::Frame { sequence, .. } if sequence + 1 == self.sequence)
            && reader.offset() == self.offset;
        if !is_whole {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the end of the log does not check any more",
            ));
        }
        read_range(file, self.last, self.offset)
    }

    /// Bytes of the sealed segments that hold nothing after `revision`.
    pub(crate) fn removable(&self, revision: Revision) -> u64 {
        self.sealed.iter().take_while(|segment| segment.last <= revision).map(|segment| segment.bytes).sum()
    }

    /// Removes the sealed segments that hold nothing after `revision`, oldest first.
    pub(crate) fn remove_until(&mut self, revision: Revision) -> io::Result<()> {
        let count = self.sealed.iter().take_while(|segment| segment.last <= revision).count();
        for segment in self.sealed.drain(..count) {
            self.disk.remove(&segment_name(segment.number))?;
        }
        if count > 0 {
            self.disk.sync_dir()?;
        }
        Ok(())
    }
}

/// The bytes of `file` from `from` to `to`.
pub(crate) fn read_range(file: &dyn File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(from + done as u64, &mut bytes[done..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn new_segment(
    disk: &dyn Disk,
    number: u64,
    sequence: u64,
    revision: Revision,
) -> io::Result<(Box<dyn File>, u64)> {
    let mut file = disk.create(&segment_name(number))?;
    let mut header = Vec::new();
    let record = Record::Segment { format: FORMAT, number, revision };
    frame::encode(&mut header, sequence, |out| record.encode(out));
    file.write_at(0, &header)?;
    file.sync()?;
    disk.sync_dir()?;
    Ok((file, header.len() as u64))
}
