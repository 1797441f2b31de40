//! [`Stepped`]: the same engine without threads of its own. Whoever owns it decides which part of it goes on next,
//! so that a seeded test replays every interleaving of callers, writer, watches and checkpoints exactly.
//!
//! Deliberately absent: anything that a program needs. Programs use [`Embedded`], whose threads do these steps.

use super::checkpoint::Job;
use super::core::Core;
use super::disk::Disk;
use super::request::Request;
use super::{Embedded, Options, lock, open_core};
use crate::kv::{Revision, StoreError};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// An engine that goes on only when told to. Dropping it is what killing the process is: requests that wait are
/// never answered, watches end, and the disk is left as it is.
pub struct Stepped {
    store: Arc<Embedded>,
    core: Core,
    inbox: Receiver<Request>,
    /// The batch holds requests.
    is_open: bool,
    _lock: Box<dyn Send>,
}

impl Stepped {
    /// Opens the store in `disk`.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self, StoreError> {
        let lock = lock(disk.as_ref())?;
        let core = open_core(disk.clone(), options)?;
        let (requests, inbox) = channel();
        let (shared, max_txn_bytes) = (core.shared.clone(), core.options.max_txn_bytes);
        let store = Arc::new(Embedded { shared, requests, threads: Vec::new(), max_txn_bytes, disk });
        Ok(Self { store, core, inbox, is_open: false, _lock: lock })
    }

    /// The door that callers use. Their writes wait until [`Stepped::finish`].
    pub fn store(&self) -> Arc<Embedded> {
        self.store.clone()
    }

    /// Takes up to `most` waiting requests into the batch; returns how many there were.
    pub fn stage(&mut self, most: usize) -> usize {
        let mut count = 0;
        while count < most
            && let Ok(request) = self.inbox.try_recv()
        {
            self.core.stage(request);
            self.is_open = true;
            count += 1;
        }
        count
    }

    /// Does what time brings, makes the batch durable, publishes it and answers. Returns how long until time
    /// brings more.
    pub fn finish(&mut self) -> Option<Duration> {
        let due = self.core.stage_due();
        self.core.finish();
        self.is_open = false;
        due
    }

    /// Frees some of the history that was given up; `true` while there is more. Only between two batches.
    pub fn forget(&mut self) -> bool {
        !self.is_open && self.core.forget()
    }

    /// Hands out a portion of what is new to the watchers; `true` while there is more.
    pub fn hand_out(&self) -> bool {
        self.store.shared.hub.hand_out(&self.store.shared.history)
    }

    /// Tells watchers that asked for it how far they have seen.
    pub fn progress(&self) {
        self.store.shared.hub.progress();
    }

    /// A checkpoint that is worth writing now, if none is being written. Only between two batches.
    pub fn checkpoint(&mut self) -> Option<Checkpoint> {
        if self.is_open { None } else { self.core.due_checkpoint().map(Checkpoint) }
    }

    /// The checkpoint at `revision` is written, or failed.
    pub fn checkpointed(&mut self, revision: Revision, result: io::Result<()>) {
        self.core.stage(Request::Checkpointed(revision, result));
        self.is_open = true;
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        self.store.shared.hub.close();
    }
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A checkpoint to write, on any thread.
pub struct Checkpoint(Job);

impl Checkpoint {
    /// The revision that it holds.
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// Writes it; hand the result to [`Stepped::checkpointed`].
    ///
    /// # Errors
    /// What the disk says; a file that is not complete is removed at the next attempt or start.
    pub fn run(&self) -> io::Result<()> {
        self.0.run()
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Checkpoint").field(&self.0.revision).finish()
    }
}
