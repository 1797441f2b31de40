//! [`check`]: all checks of a history, and what they find.

use super::history::{Answer, History, Request};
use super::timeline::Timeline;
use super::{alarms, answers, leases, order, watches};
use std::fmt;
use store::Revision;

/// What is wrong, by the promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Two writes were told the same revision, or a revision has two contents: something acknowledged is gone.
    Rewritten,
    /// A revision without changes or that no watch shows.
    Hole,
    /// Changes that no write explains.
    Unexplained,
    /// The order of revisions contradicts real time: a stale read, or a lost write.
    Order,
    /// The answer is not what the state at its revision gives.
    Answer,
    /// Refused what had to be done, or done what had to be refused.
    Refusal,
    /// Something older than the compaction was served.
    Compacted,
    /// Taken above the quota or under an alarm, or refused for want of space without a reason.
    Alarm,
    /// A lease ended too early, or its keys outlived it.
    Lease,
    /// A watch delivered revisions out of order.
    WatchOrder,
    /// A watch delivered a revision twice.
    WatchUnique,
    /// A watch left out a change.
    WatchReliable,
    /// A watch delivered a part of a commit.
    WatchAtomic,
    /// A watch delivered something that did not happen, or that it does not cover.
    WatchContent,
    /// Progress was told before what it promises was delivered.
    WatchProgress,
}

/// Something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Found(pub(crate) Vec<Violation>);

impl Found {
    pub(crate) fn add(&mut self, kind: Kind, text: impl Into<String>) {
        // The first ones say it.
        if self.0.len() < 20 {
            self.0.push(Violation { kind, text: text.into() });
        }
    }
}

/// What a good history held, so that a test can see that it was worth checking.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) revisions: Revision,
    pub(crate) operations: u64,
    /// Writes without an answer.
    pub(crate) unknown: u64,
    /// Those of them that happened.
    pub(crate) resolved: u64,
    /// Commits that ended a lease.
    pub(crate) leases_ended: u64,
    /// Reads of the past.
    pub(crate) past_reads: u64,
    /// Operations refused for compaction.
    pub(crate) compacted: u64,
    /// Watches, resumed ones counted again.
    pub(crate) watches: u64,
    /// Changes delivered to them.
    pub(crate) events: u64,
    /// Items of progress.
    pub(crate) progress: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.revisions += other.revisions;
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.resolved += other.resolved;
        self.leases_ended += other.leases_ended;
        self.past_reads += other.past_reads;
        self.compacted += other.compacted;
        self.watches += other.watches;
        self.events += other.events;
        self.progress += other.progress;
    }
}

/// Checks a history.
pub(crate) fn check(history: &History) -> Result<Summary, Vec<Violation>> {
    let mut found = Found::default();
    let Some(timeline) = Timeline::build(history, &mut found) else { return Err(found.0) };
    order::check(history, &timeline, &mut found);
    answers::check(history, &timeline, &mut found);
    alarms::check(history, &timeline, &mut found);
    leases::check(history, &timeline, &mut found);
    watches::check(history, &timeline, &mut found);
    if found.0.is_empty() { Ok(summary(history, &timeline)) } else { Err(found.0) }
}

fn summary(history: &History, timeline: &Timeline) -> Summary {
    let count = |is: fn(&Request, &Answer) -> bool| {
        history.operations.iter().filter(|operation| is(&operation.request, &operation.answer)).count() as u64
    };
    let items = || history.watches.iter().flat_map(|watch| &watch.items);
    Summary {
        revisions: timeline.last(),
        operations: history.operations.len() as u64,
        unknown: count(|request, answer| matches!((request, answer), (Request::Txn(_), Answer::Unknown))),
        resolved: timeline.resolved,
        leases_ended: timeline.leases_ended,
        past_reads: count(
            |request, answer| matches!((request, answer), (Request::Range(_, _, options), Answer::Range(_)) if options.revision.is_some()),
        ),
        compacted: count(|_, answer| matches!(answer, Answer::Refused(store::StoreError::Compacted { .. }))),
        watches: history.watches.len() as u64,
        events: items().map(|(_, commit)| commit.events.len() as u64).sum(),
        progress: items().filter(|(_, commit)| commit.events.is_empty()).count() as u64,
    }
}
