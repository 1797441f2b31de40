//! What is recorded: who asked what when, and what the answer was.
//!
//! Real time is a counter that every call, answer and watch item takes a number from: an operation happened before
//! another if it was answered at a lower number than the other was called at. Seconds are only kept for leases.

use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;
use store::maintenance::Alarm;
use store::{Commit, LeaseId, Range, RangeOptions, Revision, StoreError, Txn, TxnResult};

/// A moment: its place in the order of everything that was recorded, and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) index: u64,
    pub(crate) time: Duration,
}

/// After everything.
pub(crate) const NEVER: Moment = Moment { index: u64::MAX, time: Duration::MAX };

/// A moment that a test makes up.
pub(crate) fn moment(index: u64, time: Duration) -> Moment {
    Moment { index, time }
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Txn(Txn),
    Range(Bytes, Option<Bytes>, RangeOptions),
    Revision,
    Compact(Revision),
    Grant(LeaseId, i64),
    Revoke(LeaseId),
    KeepAlive(LeaseId),
    /// Set an alarm, or take it back.
    Alarm(Alarm, bool),
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Txn(TxnResult),
    Range(Range),
    /// A revision, or seconds of a lease.
    Number(i64),
    Done,
    /// Refused: it did not happen.
    Refused(StoreError),
    /// Nobody knows whether it happened.
    Unknown,
}

/// An operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) call: Moment,
    /// [`NEVER`] when there was no answer.
    pub(crate) done: Moment,
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

/// How a watch ended.
#[derive(Clone, Debug)]
pub(crate) enum WatchEnd {
    /// It was refused, or ended by the store.
    Error(StoreError),
    /// The stream ended without a word.
    Silent,
    /// Whoever watched had enough.
    Dropped,
}

/// A watch.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) start: Bytes,
    pub(crate) end: Option<Bytes>,
    pub(crate) from: Option<Revision>,
    pub(crate) call: Moment,
    /// [`NEVER`] when it was refused.
    pub(crate) opened: Moment,
    pub(crate) items: Vec<(Moment, Commit)>,
    pub(crate) finish: Option<(Moment, WatchEnd)>,
}

/// Everything that was recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    pub(crate) watches: Vec<Watched>,
    /// The store compacts by itself.
    pub(crate) auto_compaction: bool,
    /// A lease lives as long as asked for; etcd raises a short one.
    pub(crate) exact_ttl: bool,
    /// The revision in a refusal was asked for afterwards: etcd's errors carry none.
    pub(crate) asks_afterwards: bool,
    /// A watch that starts exactly at the compacted revision may miss removals of that revision: etcd before
    /// 3.4.36 and 3.5.18.
    pub(crate) forgets_removals: bool,
    /// What may be stored, where that is known.
    pub(crate) quota: Option<super::Quota>,
    next: u64,
}

/// Records.
#[derive(Debug, Default)]
pub(crate) struct Recorder(RefCell<History>);

/// An operation or watch that is being recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(usize);

impl History {
    fn moment(&mut self, time: Duration) -> Moment {
        self.next += 1;
        Moment { index: self.next, time }
    }
}

/// What was recorded, one line for each moment, for whoever looks into a failing seed.
impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = Vec::new();
        for (number, Operation { client, call, done, request, answer }) in self.operations.iter().enumerate()
        {
            lines.push((*call, format!("operation {number} of {client} {request:?}")));
            lines.push((*done, format!("operation {number} -> {answer:?}")));
        }
        for (number, watch) in self.watches.iter().enumerate() {
            let Watched { start, end, from, call, opened, items, finish } = watch;
            lines.push((*call, format!("watch {number} {start:?}..{end:?} from {from:?}")));
            lines.push((*opened, format!("watch {number} opened")));
            for (at, commit) in items {
                let events = commit.events.iter().map(|event| (event.kind, &event.kv));
                lines.push((
                    *at,
                    format!("watch {number} = {} {:?}", commit.revision, events.collect::<Vec<_>>()),
                ));
            }
            lines.extend(finish.iter().map(|(at, end)| (*at, format!("watch {number} ended {end:?}"))));
        }
        lines.sort_by_key(|(at, _)| at.index);
        lines.iter().try_for_each(|(at, line)| {
            let line: String = line.chars().take(400).collect();
            writeln!(f, "{:>6} {:>9} {line}", at.index.min(999_999), at.time.as_millis().min(999_999_999))
        })
    }
}

impl Recorder {
    pub(crate) fn new(set: impl FnOnce(&mut History)) -> Self {
        let mut history = History::default();
        set(&mut history);
        Self(RefCell::new(history))
    }

    /// Something is asked.
    pub(crate) fn call(&self, client: usize, time: Duration, request: Request) -> Ticket {
        let history = &mut *self.0.borrow_mut();
        let call = history.moment(time);
        history.operations.push(Operation { client, call, done: NEVER, request, answer: Answer::Unknown });
        Ticket(history.operations.len() - 1)
    }

    /// It was answered.
    pub(crate) fn done(&self, ticket: Ticket, time: Duration, answer: Answer) {
        let history = &mut *self.0.borrow_mut();
        let done = history.moment(time);
        let operation = &mut history.operations[ticket.0];
        if !matches!(answer, Answer::Unknown) {
            operation.done = done;
        }
        operation.answer = answer;
    }

    /// A watch is asked for.
    pub(crate) fn watch(
        &self,
        time: Duration,
        (start, end): (Bytes, Option<Bytes>),
        from: Option<Revision>,
    ) -> Ticket {
        let history = &mut *self.0.borrow_mut();
        let call = history.moment(time);
        let watch = Watched { start, end, from, call, opened: NEVER, items: Vec::new(), finish: None };
        history.watches.push(watch);
        Ticket(history.watches.len() - 1)
    }

    /// It is open.
    pub(crate) fn opened(&self, ticket: Ticket, time: Duration) {
        let history = &mut *self.0.borrow_mut();
        history.watches[ticket.0].opened = history.moment(time);
    }

    /// It delivered.
    pub(crate) fn item(&self, ticket: Ticket, time: Duration, commit: Commit) {
        let history = &mut *self.0.borrow_mut();
        let moment = history.moment(time);
        history.watches[ticket.0].items.push((moment, commit));
    }

    /// It ended.
    pub(crate) fn ended(&self, ticket: Ticket, time: Duration, end: WatchEnd) {
        let history = &mut *self.0.borrow_mut();
        let moment = history.moment(time);
        history.watches[ticket.0].finish = Some((moment, end));
    }

    /// What was recorded so far.
    pub(crate) fn history(&self) -> History {
        self.0.borrow().clone()
    }
}
