//! What follows a write that failed: the store is read-only, and when the disk was only full it goes on by itself as
//! soon as there is room.
//!
//! A full disk is the one failure after which it is known what the log holds: nothing of the failed batch was
//! acknowledged, so it is taken off the log, and off memory. Everything before was synced successfully. Pages of a
//! sync that failed are never trusted: the end of the log is cut, written again and synced before anything is
//! added. After any other failure nothing is known of the disk, and only a new start reads what is really there.
//!
//! Deliberately absent: making room. Removing data needs the log, too; what fills the disk is for its owner to find.

use super::core::Core;
use super::state::Lease;
use super::wal::Failure;
use crate::kv::StoreError;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long until the log is tried again. There is no event for space that became free.
const RETRY: Duration = Duration::from_secs(1);

/// A write failed: nothing is written until the restart, or until there is room.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What callers are told.
    pub(crate) error: StoreError,
    /// The disk is full: this goes away by itself.
    pub(crate) is_full: bool,
}

/// Sizes of the state as it was last published.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) bytes: u64,
    pub(super) old_bytes: u64,
    pub(super) keys: u64,
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Core {
    /// From now on the store is read-only, if only for a while.
    pub(super) fn fail(&mut self, failure: &Failure) {
        let is_full = is_full(&failure.error);
        let error = write_error(failure);
        tracing::error!("{error}");
        self.shared.counters.read_only.fetch_add(1, Relaxed);
        self.shared.fail(Failed { error: error.clone(), is_full });
        self.changes.clear();
        if is_full {
            self.roll_back();
            self.retry = Some((self.options.clock)() + RETRY);
        }
        self.answers.drain(..).for_each(|answer| answer.send(Some(&error)));
    }

    /// Makes the working state what was published last: the batch did not happen.
    fn roll_back(&mut self) {
        let now = (self.options.clock)();
        let view = self.shared.view.load_full();
        let mut before = std::mem::take(&mut self.state.leases);
        let leases = view.leases.iter().map(|(id, ttl)| {
            // One whose end did not happen begins anew, as after a restart.
            let deadline = before.remove(id).map(|lease| lease.deadline);
            let deadline = deadline.unwrap_or(now + Duration::from_secs(ttl.unsigned_abs()));
            (*id, Lease { ttl: *ttl, deadline, keys: BTreeSet::new() })
        });
        self.state.leases = leases.collect::<HashMap<_, _>>();
        self.state.view = view.as_ref().clone();
        let Sizes { bytes, old_bytes, keys } = self.published;
        (self.state.bytes, self.state.old_bytes, self.state.keys) = (bytes, old_bytes, keys);
        self.state.attach_all();
        self.compacted = self.shared.history.compacted();
        self.leases_changed = false;
        self.next_expiry = Duration::ZERO;
        self.upkeep.not_after(view.revision);
    }

    /// Remembers the sizes of what is published.
    pub(super) fn remember_sizes(&mut self) {
        let state = &self.state;
        self.published = Sizes { bytes: state.bytes, old_bytes: state.old_bytes, keys: state.keys };
    }

    /// Tries the log again when it is time to. Returns how long until the next attempt while there is no room.
    pub(super) fn recover(&mut self) -> Option<Duration> {
        let retry = self.retry?;
        let now = (self.options.clock)();
        if now < retry {
            return Some(retry - now);
        }
        match self.wal.recover() {
            Ok(()) => {
                self.retry = None;
                self.shared.recovered();
                self.shared.counters.recovered.fetch_add(1, Relaxed);
                tracing::info!("there is room on the store's disk again: it takes writes");
                self.count();
                None
            }
            Err(failure) if is_full(&failure.error) => {
                self.retry = Some(now + RETRY);
                Some(RETRY)
            }
            Err(failure) => {
                self.retry = None;
                let error = write_error(&failure);
                tracing::error!("{error}");
                self.shared.fail(Failed { error, is_full: false });
                None
            }
        }
    }
}

/// Names the file and the way out. Nothing that was acknowledged is lost: it is on the disk before the answer.
fn write_error(failure: &Failure) -> StoreError {
    let Failure { file, error } = failure;
    let way_out = if is_full(error) {
        "the store is read-only until there is room on its disk, and nothing acknowledged is lost: free space, and it \
         goes on by itself"
            .to_owned()
    } else {
        let remedy = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "mount its file system for writing again",
            _ => "check its disk (see the kernel's log)",
        };
        format!(
            "until the restart the store is read-only, and nothing acknowledged is lost: {remedy}, then restart windlass"
        )
    };
    StoreError::Io(format!("failed to write the log {file}: {error}; {way_out}"))
}
