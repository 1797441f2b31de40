//! What the writer does on the side: ends leases, forgets history, writes checkpoints, holds files for who reads
//! them. Part of [`Core`], because all of it has to fit between two batches.
//!
//! History is given up by age, and earlier when it grows too large; memory is freed in slices, so that no writer
//! waits for it. A checkpoint is written by a thread of its own when so much of the log is older than it that the
//! writing is worth it; then that part of the log goes. So both stay bounded under a load that never ends.

use super::checkpoint::{Job, checkpoint_name};
use super::core::Core;
use super::disk::Disk;
use super::request::{Held, Reply};
use super::view::View;
use crate::kv::{Revision, StoreError};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Revisions of history that are freed between two batches.
const FORGET_SLICE: usize = 2048;

/// Into how many steps the age of history is divided.
const SAMPLES: u32 = 30;

/// After a checkpoint that failed, the next one is not tried before.
const RETRY: Duration = Duration::from_secs(60);

/// What is only needed for upkeep.
pub(crate) struct Upkeep {
    disk: Arc<dyn Disk>,
    /// (time, the latest revision then), oldest first.
    samples: VecDeque<(Duration, Revision)>,
    /// Everything up to here is in a checkpoint.
    base: Revision,
    /// A checkpoint at this revision is being written: history after it must stay.
    checkpointing: Option<Revision>,
    /// When writing a checkpoint failed: not before.
    retry_checkpoint: Duration,
    pub(super) cancelled: Arc<AtomicBool>,
    /// Who waits for a checkpoint that is written anyway.
    pub(super) defragments: Vec<Reply<()>>,
    /// How many of them the checkpoint being written is for.
    served: usize,
    /// Who waits until everything given up is freed.
    pub(super) settling: Vec<Reply<()>>,
    /// Who waits to read the files, and how many do.
    pub(super) holding: Vec<Reply<Held>>,
    pub(super) holds: usize,
}

impl Upkeep {
    pub(super) fn new(disk: Arc<dyn Disk>, base: Revision, now: Duration, revision: Revision) -> Self {
        Self {
            disk,
            samples: VecDeque::from([(now, revision)]),
            base,
            checkpointing: None,
            retry_checkpoint: Duration::ZERO,
            cancelled: Arc::default(),
            defragments: Vec::new(),
            served: 0,
            settling: Vec::new(),
            holding: Vec::new(),
            holds: 0,
        }
    }
}

impl Upkeep {
    /// Revisions after this one did not happen.
    pub(super) fn not_after(&mut self, revision: Revision) {
        for (_, last) in &mut self.samples {
            *last = revision.min(*last);
        }
    }
}

impl Core {
    /// What time brings: ends leases and forgets history, as part of the batch. Returns how long until it has to
    /// be called again.
    pub(crate) fn stage_due(&mut self) -> Option<Duration> {
        if let Some(retry) = self.recover() {
            return Some(retry);
        }
        if self.still_open().is_err() {
            return None;
        }
        let now = (self.options.clock)();
        if self.next_expiry <= now {
            self.expire(now);
        }
        if let Some(revision) = self.forgettable(now).filter(|revision| *revision > self.compacted) {
            // Cannot fail: it is between the oldest and the latest revision.
            let _ = self.compact(revision);
        }
        let lease = (!self.state.leases.is_empty()).then_some(self.next_expiry);
        let oldest = self.upkeep.samples.front();
        let newest = self.upkeep.samples.back().filter(|(_, revision)| *revision < self.state.view.revision);
        let forget = oldest.map(|(at, _)| *at + self.options.history);
        let sample = newest.map(|(at, _)| *at + self.options.history / SAMPLES);
        [lease, forget, sample].into_iter().flatten().min().map(|at| at.saturating_sub(now))
    }

    fn expire(&mut self, now: Duration) {
        let leases = self.state.leases.iter();
        let mut due: Vec<_> = leases.filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect();
        due.sort_unstable();
        for id in due {
            // Cannot fail: it exists.
            let _ = self.revoke(id);
        }
        let rest = self.state.leases.values().map(|lease| lease.deadline);
        self.next_expiry = rest.min().unwrap_or(Duration::MAX);
    }

    /// The revision that history should start at by now.
    fn forgettable(&mut self, now: Duration) -> Option<Revision> {
        let revision = self.state.view.revision;
        let step = self.options.history / SAMPLES;
        let is_new = match self.upkeep.samples.back() {
            Some((at, last)) => *last < revision && *at + step <= now,
            None => self.compacted < revision,
        };
        if is_new {
            self.upkeep.samples.push_back((now, revision));
        }
        let mut by_age = None;
        while self.upkeep.samples.front().is_some_and(|(at, _)| *at + self.options.history <= now) {
            by_age = self.upkeep.samples.pop_front().map(|(_, revision)| revision);
        }
        let held = self.shared.history.len();
        let first = self.shared.view.load().revision + 1 - held as Revision;
        // What is already given up but not freed yet does not count again.
        let caught_up = first >= self.compacted;
        let is_over =
            held > self.options.history_revisions || self.state.old_bytes > self.options.history_bytes;
        let by_size = (is_over && caught_up && held > 0).then(|| first + (held as Revision / 8).max(1));
        by_age.max(by_size).map(|to| to.min(revision))
    }

    /// Frees some of the history that was given up; `true` while there is more.
    pub(crate) fn forget(&mut self) -> bool {
        if let Err(error) = self.still_open() {
            self.upkeep.settling.drain(..).for_each(|reply| drop(reply.send(Err(error.clone()))));
            return false;
        }
        // The changes of the oldest readable revision stay, for watchers that start there.
        let last = self.upkeep.checkpointing.unwrap_or(Revision::MAX).min(self.compacted - 1);
        let gone = self.shared.history.pop(last, FORGET_SLICE);
        gone.iter().for_each(|changes| self.state.forget(changes));
        if !gone.is_empty() {
            self.shared.view.store(Arc::new(self.state.view.clone()));
            self.remember_sizes();
            self.count();
        }
        let has_more = gone.len() == FORGET_SLICE;
        if !has_more && self.upkeep.checkpointing.is_none() {
            self.upkeep.settling.drain(..).for_each(|reply| drop(reply.send(Ok(()))));
        }
        has_more
    }

    /// A checkpoint to write now, if one is worth it or asked for. Hand its result to [`Core::checkpointed`].
    pub(crate) fn due_checkpoint(&mut self) -> Option<Job> {
        if self.upkeep.checkpointing.is_some() {
            return None;
        }
        self.hold();
        if let Err(error) = self.still_open() {
            self.upkeep.defragments.drain(..).for_each(|reply| drop(reply.send(Err(error.clone()))));
            return None;
        }
        if self.upkeep.holds > 0 {
            return None;
        }
        let mut revision = self.compacted - 1;
        self.upkeep.served = self.upkeep.defragments.len();
        if self.upkeep.served > 0 {
            // The latest state alone: history goes on in memory, but the next start begins here.
            revision = self.state.view.revision;
            if let Err(error) = self.prepare_defragment(revision) {
                self.answer_defragments(&Err(error));
                return None;
            }
        } else {
            let worth = self.options.checkpoint_bytes.max(self.state.bytes / 2);
            let is_early = (self.options.clock)() < self.upkeep.retry_checkpoint;
            if is_early || self.wal.removable(revision) < worth {
                return None;
            }
        }
        if revision <= self.upkeep.base {
            self.answer_defragments(&Ok(()));
            return None;
        }
        self.upkeep.checkpointing = Some(revision);
        let (disk, cancelled) = (self.upkeep.disk.clone(), self.upkeep.cancelled.clone());
        Some(Job { disk, view: self.state.view.clone(), revision, cancelled })
    }

    /// Ends the segment that is written to, so that it can go.
    fn prepare_defragment(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision <= self.upkeep.base {
            return Ok(());
        }
        self.wal.rotate().map_err(|failure| {
            StoreError::Io(format!(
                "failed to begin {}: {}; nothing has changed; free space on its disk and try again",
                failure.file, failure.error
            ))
        })
    }

    fn answer_defragments(&mut self, result: &Result<(), StoreError>) {
        let served = std::mem::take(&mut self.upkeep.served);
        self.upkeep.defragments.drain(..served).for_each(|reply| drop(reply.send(result.clone())));
    }

    /// Answers those who want to read the files: none of them goes until they are done.
    fn hold(&mut self) {
        for reply in std::mem::take(&mut self.upkeep.holding) {
            let held = Held {
                // The working state may be ahead of the disk after a write that failed.
                view: View::clone(&self.shared.view.load()),
                base: self.upkeep.base,
                sealed: self.wal.sealed.iter().map(|segment| segment.number).collect(),
                end: self.wal.end(),
            };
            self.upkeep.holds += usize::from(reply.send(Ok(held)).is_ok());
        }
    }

    /// A checkpoint was written, or failed.
    pub(super) fn checkpointed(&mut self, revision: Revision, result: io::Result<()>) {
        self.upkeep.checkpointing = None;
        let cleaned = result.and_then(|()| {
            let old = checkpoint_name(std::mem::replace(&mut self.upkeep.base, revision));
            self.shared.counters.checkpoints.fetch_add(1, Relaxed);
            let disk = &self.upkeep.disk;
            let bytes = disk.open(&checkpoint_name(revision))?.size()?;
            self.shared.counters.checkpoint_bytes.store(bytes, Relaxed);
            if disk.list()?.contains(&old) {
                disk.remove(&old)?;
            }
            self.wal.remove_until(revision)
        });
        self.count();
        match cleaned {
            Ok(()) => self.answer_defragments(&Ok(())),
            Err(error) => {
                // Not fatal: the log still has everything.
                tracing::warn!(%error, "failed to write a checkpoint of the store; trying again in a minute");
                self.upkeep.retry_checkpoint = (self.options.clock)() + RETRY;
                self.answer_defragments(&Err(StoreError::Io(format!(
                    "failed to write {}: {error}; nothing is lost; free space on its disk and try again",
                    self.upkeep.disk.describe(&checkpoint_name(revision))
                ))));
            }
        }
    }
}
