//! Every answer against the state at its revision; what is refused for compaction, and what has to be.

use super::check::{Found, Kind};
use super::history::{Answer, History, Operation, Request, WatchEnd};
use super::sequential::{range, run, same_range, same_result, wrote};
use super::timeline::Timeline;
use store::{Range, Revision, StoreError, Txn, TxnResult};

pub(crate) fn check(history: &History, timeline: &Timeline, found: &mut Found) {
    let compactions = Compactions::new(history);
    for (number, operation) in history.operations.iter().enumerate() {
        let wrong = match (&operation.request, &operation.answer) {
            (Request::Txn(txn), Answer::Txn(result)) => transaction(timeline, txn, result),
            (Request::Range(start, end, options), Answer::Range(answer)) => {
                let at = options.revision.filter(|at| *at > 0).unwrap_or(answer.revision);
                compactions.served(at, operation, found);
                let expected = timeline.at(at).filter(|_| at <= answer.revision);
                let expected = expected.map(|keys| range(keys, start, end, options));
                compare_range(answer, expected.as_ref())
            }
            (_, Answer::Refused(error)) => {
                refused(timeline, &compactions, operation, error, found);
                None
            }
            (Request::Compact(revision), Answer::Done) if *revision > timeline.last() => {
                Some("a compaction of the future was done".to_owned())
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            found.add(Kind::Answer, format!("operation {number}: {wrong}; {operation:?}"));
        }
    }
    for watch in &history.watches {
        if let Some((moment, WatchEnd::Error(StoreError::Compacted { oldest }))) = &watch.finish {
            compactions.explained(*oldest, moment.index, "a watch", found);
            if watch.from.is_none_or(|from| from >= *oldest) {
                found.add(Kind::Refusal, format!("a watch of {:?} was refused for {oldest}", watch.from));
            }
        }
        if let (Some(from), Some((moment, _))) = (watch.from, watch.items.first())
            && compactions.known_before(watch.call.index) > from
        {
            found.add(Kind::Compacted, format!("a watch from {from} was served at {moment:?}"));
        }
    }
}

fn compare_range(answer: &Range, expected: Option<&Range>) -> Option<String> {
    match expected {
        Some(expected) if same_range(answer, expected) => None,
        Some(expected) => Some(format!("expected {expected:?}")),
        None => Some("read a revision that does not exist".to_owned()),
    }
}

fn transaction(timeline: &Timeline, txn: &Txn, result: &TxnResult) -> Option<String> {
    let wrote = wrote(result);
    let before = if wrote { result.revision - 1 } else { result.revision };
    let Some(keys) = timeline.at(before) else { return Some(format!("there is no revision {before}")) };
    let effect = run(txn, keys, before + 1, |past| timeline.at(past));
    let is_right = effect.succeeded == result.succeeded
        && effect.events.is_empty() != wrote
        && effect.results.len() == result.results.len()
        && effect.results.iter().zip(&result.results).all(|(left, right)| same_result(left, right));
    (!is_right).then(|| format!("expected {} and {:?}", effect.succeeded, effect.results))
}

fn refused(
    timeline: &Timeline,
    compactions: &Compactions,
    operation: &Operation,
    error: &StoreError,
    found: &mut Found,
) {
    let asked = match &operation.request {
        Request::Range(_, _, options) => options.revision,
        Request::Compact(revision) => Some(*revision),
        _ => None,
    };
    let is_compact = matches!(operation.request, Request::Compact(_));
    let is_right = match error {
        StoreError::Compacted { oldest } => {
            compactions.explained(*oldest, operation.done.index, "an operation", found);
            *oldest <= timeline.last() && asked.is_some_and(|at| at < *oldest + Revision::from(is_compact))
        }
        StoreError::Future { .. } if compactions.asks_afterwards => {
            asked.is_some_and(|at| at > timeline.observed_before(operation.call.index))
        }
        StoreError::Future { current } => asked.is_some_and(|at| at > *current),
        // Their own check.
        StoreError::LeaseNotFound | StoreError::LeaseExists | StoreError::NoSpace { .. } => true,
        _ => false,
    };
    if !is_right {
        found.add(Kind::Refusal, format!("{error}: {operation:?}"));
    }
}

/// What is known about compactions, and when.
struct Compactions {
    /// (number of the answer, everything before this revision is gone), ascending in both.
    known: Vec<(u64, Revision)>,
    /// (number of the call, revision), ascending in both.
    asked: Vec<(u64, Revision)>,
    is_automatic: bool,
    asks_afterwards: bool,
}

fn rising(mut all: Vec<(u64, Revision)>) -> Vec<(u64, Revision)> {
    all.sort_unstable();
    let mut highest = 0;
    for (_, revision) in &mut all {
        highest = highest.max(*revision);
        *revision = highest;
    }
    all
}

fn before(all: &[(u64, Revision)], index: u64) -> Revision {
    all.partition_point(|(at, _)| *at < index).checked_sub(1).map_or(0, |at| all[at].1)
}

impl Compactions {
    fn new(history: &History) -> Self {
        let (mut known, mut asked) = (Vec::new(), Vec::new());
        for operation in &history.operations {
            match (&operation.request, &operation.answer) {
                (Request::Compact(revision), answer) => {
                    if !matches!(answer, Answer::Refused(_)) {
                        asked.push((operation.call.index, *revision));
                    }
                    match answer {
                        Answer::Done => known.push((operation.done.index, *revision)),
                        Answer::Refused(StoreError::Compacted { oldest }) => {
                            known.push((operation.done.index, *oldest));
                        }
                        _ => {}
                    }
                }
                (Request::Range(..), Answer::Refused(StoreError::Compacted { oldest })) => {
                    known.push((operation.done.index, *oldest));
                }
                _ => {}
            }
        }
        let (is_automatic, asks_afterwards) = (history.auto_compaction, history.asks_afterwards);
        Self { known: rising(known), asked: rising(asked), is_automatic, asks_afterwards }
    }

    fn known_before(&self, index: u64) -> Revision {
        before(&self.known, index)
    }

    fn served(&self, at: Revision, operation: &Operation, found: &mut Found) {
        let oldest = self.known_before(operation.call.index);
        if at < oldest {
            let text = format!("revision {at} was read, but {oldest} was the oldest: {operation:?}");
            found.add(Kind::Compacted, text);
        }
    }

    /// Someone asked for a compaction that goes so far.
    fn explained(&self, oldest: Revision, index: u64, what: &str, found: &mut Found) {
        if !self.is_automatic && before(&self.asked, index) < oldest {
            found.add(Kind::Refusal, format!("{what} was refused for {oldest}, which nobody compacted"));
        }
    }
}
