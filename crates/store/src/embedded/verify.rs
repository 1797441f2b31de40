//! Verification of a directory in use: reads what is on the disk and compares it with what is in memory.
//!
//! The files that are read were durable at one moment and do not go away meanwhile ([`Held`]); commits after that
//! moment are not looked at. Every key of the state of that moment must be on the disk, with the same value at the same
//! revision; whatever else is on the disk must check and be in order.

use super::checkpoint::{self, Item, checkpoint_name};
use super::disk::Disk;
use super::frame::{Next, Reader};
use super::node::Node;
use super::offline::Report;
use super::record::{Change, Decoder, Record};
use super::request::Held;
use super::wal::segment_name;
use crate::kv::{Revision, StoreError};
use std::io;
use std::sync::Arc;

/// Told the bytes done, and those to do.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

struct Verifier<'a> {
    disk: &'a dyn Disk,
    held: &'a Held,
    /// Revision of the checkpoint that was read, or of an empty store.
    base: Revision,
    /// Keys of the state that were found on the disk.
    found: u64,
    sequence: Option<u64>,
    reached: Option<Revision>,
    done: u64,
    all: u64,
}

/// Verifies what is held; `oldest` is for the report.
pub(crate) fn verify(
    disk: &dyn Disk,
    held: &Held,
    oldest: Revision,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    let mut verifier =
        Verifier { disk, held, base: 1, found: 0, sequence: None, reached: None, done: 0, all: 0 };
    verifier.run(oldest, progress)
}

impl Verifier<'_> {
    fn failed(&self, name: &str) -> impl Fn(io::Error) -> StoreError + use<> {
        let file = self.disk.describe(name);
        move |error| StoreError::Io(format!("failed to read {file}: {error}"))
    }

    fn corrupt(&self, name: &str, offset: u64, why: &str) -> StoreError {
        StoreError::Corrupt { file: self.disk.describe(name), offset, why: why.to_owned() }
    }

    fn run(&mut self, oldest: Revision, progress: Progress<'_>) -> Result<Report, StoreError> {
        let names = self.disk.list().map_err(self.failed(""))?;
        let checkpoint = checkpoint_name(self.held.base);
        let has_checkpoint = names.contains(&checkpoint);
        let (last, end) = self.held.end;
        let mut files: Vec<(String, u64)> = Vec::new();
        for number in &self.held.sealed {
            files.push((segment_name(*number), u64::MAX));
        }
        files.push((segment_name(last), end));
        for (name, limit) in &mut files {
            let size = self.disk.open(name).and_then(|file| file.size()).map_err(self.failed(name))?;
            *limit = size.min(*limit);
            self.all += *limit;
        }
        if has_checkpoint {
            self.base = self.held.base;
            self.all +=
                self.disk.open(&checkpoint).and_then(|f| f.size()).map_err(self.failed(&checkpoint))?;
            self.checkpoint(&checkpoint, progress)?;
        }
        for (name, limit) in &files {
            self.segment(name, *limit, progress)?;
        }
        let state = &self.held.view;
        let (name, end) = files.last().map_or((String::new(), 0), |(name, limit)| (name.clone(), *limit));
        if self.reached.is_none_or(|reached| reached != state.revision) {
            return Err(self.corrupt(&name, end, "the last commits are missing"));
        }
        let keys = state.index.iter().filter(|slot| !slot.0.is_removal()).count() as u64;
        if self.found != keys {
            let why = format!("{} of {keys} keys are not on the disk", keys.abs_diff(self.found));
            return Err(self.corrupt(&name, end, &why));
        }
        let leases = state.leases.len() as u64;
        Ok(Report { revision: state.revision, oldest, keys, leases, bytes: self.done })
    }

    fn checkpoint(&mut self, name: &str, progress: Progress<'_>) -> Result<(), StoreError> {
        let mut wrong = None;
        let revision = checkpoint::load(self.disk, name, |item| {
            let Item::Key(kv) = item else { return };
            self.done += (kv.key.len() + kv.value.len()) as u64;
            if self.found.is_multiple_of(1024) {
                progress(self.done, self.all);
            }
            match self.held.view.index.get(&kv.key[..]).map(|slot| version(&slot.0, kv.mod_revision)) {
                Some(Version::Newest(node)) => {
                    self.found += 1;
                    if node.kv != kv {
                        wrong.get_or_insert(kv.key);
                    }
                }
                Some(Version::Older(node)) if node.kv != kv => {
                    wrong.get_or_insert(kv.key);
                }
                _ => {}
            }
        })?;
        if let Some(key) = wrong {
            let why = format!("key {:?} differs from memory", String::from_utf8_lossy(&key));
            return Err(self.corrupt(name, 0, &why));
        }
        if revision != self.held.base {
            return Err(self.corrupt(name, 0, "it does not hold the revision of its name"));
        }
        Ok(())
    }

    fn segment(&mut self, name: &str, limit: u64, progress: Progress<'_>) -> Result<(), StoreError> {
        let failed = self.failed(name);
        let file = self.disk.open(name).map_err(&failed)?;
        let mut reader = Reader::limited(file.as_ref(), limit).map_err(&failed)?;
        let before = self.done;
        loop {
            let (sequence, offset) = match reader.next().map_err(&failed)? {
                Next::Frame { sequence, offset } => (sequence, offset),
                Next::End => return Ok(()),
                Next::Torn => {
                    return Err(self.corrupt(
                        name,
                        reader.offset(),
                        "a record that was durable is incomplete",
                    ));
                }
                Next::Damaged(why) => return Err(self.corrupt(name, reader.offset(), why)),
            };
            if self.sequence.is_some_and(|last| last + 1 != sequence) {
                return Err(self.corrupt(name, offset, "a record is missing before this one"));
            }
            self.sequence = Some(sequence);
            for record in Decoder(reader.payload()) {
                let checked = record.and_then(|record| self.record(&record));
                checked.map_err(|why| self.corrupt(name, offset, why))?;
            }
            self.done = before + reader.offset();
            progress(self.done, self.all);
        }
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        let (revision, changes) = match record {
            Record::Segment { revision, .. } => {
                if self.reached.is_some_and(|reached| reached != *revision) {
                    return Err("commits are missing before this file");
                }
                self.reached = Some(*revision);
                return Ok(());
            }
            Record::Commit { revision, changes } => (*revision, changes),
            _ => return Ok(()),
        };
        if self.reached.is_none_or(|reached| reached + 1 != revision) {
            return Err("commits are missing before this one");
        }
        self.reached = Some(revision);
        for change in changes {
            let Change::Put { key, value, lease } = change else { continue };
            let Some(slot) = self.held.view.index.get(*key) else { continue };
            let (node, is_newest) = match version(&slot.0, revision) {
                Version::Newest(node) => (node, true),
                Version::Older(node) => (node, false),
                Version::Gone => continue,
            };
            if node.kv.value != *value || node.kv.lease != *lease {
                return Err("a commit differs from memory");
            }
            self.found += u64::from(is_newest && revision > self.base);
        }
        Ok(())
    }
}

enum Version {
    /// The newest of its key.
    Newest(Arc<Node>),
    Older(Arc<Node>),
    /// History has it no more, or it is a removal.
    Gone,
}

/// The version that the change of `revision` made.
fn version(newest: &Arc<Node>, revision: Revision) -> Version {
    let mut node = newest.clone();
    while node.kv.mod_revision > revision {
        match node.previous() {
            Some(previous) => node = previous,
            None => return Version::Gone,
        }
    }
    if node.kv.mod_revision != revision || node.is_removal() {
        return Version::Gone;
    }
    if Arc::ptr_eq(&node, newest) { Version::Newest(node) } else { Version::Older(node) }
}
