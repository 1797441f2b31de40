//! The model checker: a recorded history is good if one order of all operations explains every answer, respects
//! real time, and every watch saw exactly that order.
//!
//! Checking linearizability is expensive in general. Here it is not, because every answer names a revision: the
//! order is that of the revisions, and what remains is to check each answer against the state at its revision,
//! that the order of revisions agrees with real time, and that each revision has one writer. Only writes whose
//! outcome nobody was told have to be searched for: a revision without a known writer must be the work of one of
//! them (or the end of a lease), which is a matching.
//!
//! What is checked: reads, counts and limits at any revision, transactions, compaction, leases as far as they are
//! deterministic, quota and alarms, and etcd's guarantees of a watch: ordered, unique, reliable, atomic, resumable, bookmarkable.

mod alarms;
mod answers;
mod check;
mod history;
mod leases;
mod order;
mod sequential;
mod timeline;
mod watches;
pub(crate) mod workload;

pub(crate) use alarms::Quota;
pub(crate) use check::{Kind, Summary, Violation, check};
pub(crate) use history::{Answer, History, NEVER, Operation, Recorder, Request, WatchEnd, Watched, moment};
pub(crate) use timeline::Timeline;

use bytes::Bytes;

/// End of a range that goes to the end of the key space.
pub(crate) fn to_the_end() -> Option<Bytes> {
    Some(Bytes::from_static(b"\0"))
}

/// A generator that means the same on every machine.
pub(crate) use store::embedded::disk::memory::Random;
