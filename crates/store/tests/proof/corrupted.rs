//! Proof of the checker: good histories are made bad in every way that a store can be wrong, and it has to see each.

use crate::faults;
use crate::model::{
    Answer, History, Kind, Operation, Random, Request, Timeline, Violation, WatchEnd, Watched, check, moment,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use store::maintenance::Alarm;
use store::{Commit, EventKind, Op, OpResult, Range, Revision, StoreError};

/// A good history, and the order that explains it.
struct Good {
    history: History,
    timeline: Timeline,
    random: Random,
}

impl Good {
    fn new(seed: u64) -> Self {
        let (history, _) = faults::history(seed);
        let timeline = Timeline::build(&history, &mut Default::default()).expect("a good history");
        Self { history, timeline, random: Random::new(seed) }
    }

    /// One of the operations that `pick` accepts.
    fn some<T>(&mut self, pick: impl Fn(&Self, &Operation) -> Option<T>) -> Option<(usize, T)> {
        let operations = &self.history.operations;
        let mut found: Vec<_> =
            operations.iter().enumerate().filter_map(|(at, op)| Some((at, pick(self, op)?))).collect();
        (!found.is_empty()).then(|| {
            let at = self.random.below(found.len() as u64) as usize;
            found.swap_remove(at)
        })
    }

    /// A read of the latest revision that found something.
    fn read(&mut self) -> Option<(usize, Range)> {
        self.some(|_, op| match (&op.request, &op.answer) {
            (Request::Range(_, _, options), Answer::Range(range))
                if options.revision.is_none() && !range.kvs.is_empty() =>
            {
                Some(range.clone())
            }
            _ => None,
        })
    }

    /// A write that was acknowledged, and its revision.
    fn write(&mut self) -> Option<(usize, Revision)> {
        self.some(|good, op| match &op.answer {
            Answer::Txn(result) => {
                let writes = result.results.iter().any(|result| match result {
                    OpResult::Put(_) => true,
                    OpResult::Delete(gone) => !gone.is_empty(),
                    OpResult::Range(_) => false,
                });
                // Every watch ends with the last one.
                (writes && result.revision < good.timeline.last() - 2).then_some(result.revision)
            }
            _ => None,
        })
    }

    /// A put that was acknowledged.
    fn put(&mut self) -> Option<(usize, ())> {
        self.some(|_, op| match &op.answer {
            Answer::Txn(result) => {
                result.results.iter().any(|result| matches!(result, OpResult::Put(_))).then_some(())
            }
            _ => None,
        })
    }

    fn answer(&mut self, at: usize, answer: Answer) -> Option<()> {
        self.history.operations[at].answer = answer;
        Some(())
    }

    /// An item of a watch, by the numbers of both, with events and others before and after it.
    fn item(&mut self, pick: impl Fn(&Self, &Watched, &Commit) -> bool) -> Option<(usize, usize)> {
        let mut found = Vec::new();
        for (number, watch) in self.history.watches.iter().enumerate() {
            for at in 1..watch.items.len().saturating_sub(1) {
                let is_whole =
                    watch.items[at - 1..=at + 1].iter().all(|(_, commit)| !commit.events.is_empty());
                if is_whole && pick(self, watch, &watch.items[at].1) {
                    found.push((number, at));
                }
            }
        }
        (!found.is_empty()).then(|| found[self.random.below(found.len() as u64) as usize])
    }

    fn commit(&mut self, (watch, at): (usize, usize)) -> &mut Commit {
        &mut self.history.watches[watch].items[at].1
    }

    /// Adds an operation that was called and answered at once.
    fn add(&mut self, index: u64, time: std::time::Duration, request: Request, answer: Answer) -> Option<()> {
        let now = moment(index, time);
        self.history.operations.push(Operation { client: 99, call: now, done: now, request, answer });
        Some(())
    }
}

type Corruption = fn(&mut Good) -> Option<()>;

/// What is done to a history, and what the checker has to call it.
const CORRUPTIONS: &[(&str, &[Kind], Corruption)] = &[
    ("a stale read", &[Kind::Order], |good| {
        let (at, range) = good.some(|good, op| match (&op.request, &op.answer) {
            (Request::Range(start, None, options), Answer::Range(range)) if options.revision.is_none() => {
                let revision = good.timeline.observed_before(op.call.index) - 1;
                let found = good.timeline.at(revision)?.get(start).cloned();
                let kvs: Vec<_> = found.into_iter().collect();
                (!options.count_only && !options.keys_only).then(|| Range {
                    revision,
                    count: kvs.len(),
                    kvs,
                    more: range.more,
                })
            }
            _ => None,
        })?;
        good.answer(at, Answer::Range(range))
    }),
    ("a read of another value", &[Kind::Answer], |good| {
        let (at, mut range) = good.read()?;
        range.kvs[0].value = Bytes::from_static(b"other");
        good.answer(at, Answer::Range(range))
    }),
    ("a read of another version", &[Kind::Answer], |good| {
        let (at, mut range) = good.read()?;
        range.kvs[0].version += 1;
        good.answer(at, Answer::Range(range))
    }),
    ("a read without one of the keys", &[Kind::Answer], |good| {
        let (at, mut range) = good.read()?;
        range.kvs.pop();
        good.answer(at, Answer::Range(range))
    }),
    ("a wrong count", &[Kind::Answer], |good| {
        let (at, mut range) = good.read()?;
        range.count += 1;
        good.answer(at, Answer::Range(range))
    }),
    ("a limit that lies", &[Kind::Answer], |good| {
        let (at, mut range) = good.read()?;
        range.more = !range.more;
        good.answer(at, Answer::Range(range))
    }),
    ("a read of the past that saw the present", &[Kind::Answer], |good| {
        let (at, range) = good.some(|good, op| match (&op.request, &op.answer) {
            (Request::Range(start, None, options), Answer::Range(range)) if options.revision.is_some() => {
                let now = good.timeline.at(range.revision)?.get(start).cloned();
                let kvs: Vec<_> = now.into_iter().collect();
                (!options.count_only && !options.keys_only && kvs != range.kvs).then(|| Range {
                    revision: range.revision,
                    count: kvs.len(),
                    kvs,
                    more: false,
                })
            }
            _ => None,
        })?;
        good.answer(at, Answer::Range(range))
    }),
    ("a transaction that took the wrong branch", &[Kind::Answer], |good| {
        let (at, _) = good.write()?;
        let Answer::Txn(result) = &mut good.history.operations[at].answer else { return None };
        result.succeeded = !result.succeeded;
        Some(())
    }),
    ("a put that found another state", &[Kind::Answer], |good| {
        let (at, result) = good.some(|_, op| match &op.answer {
            Answer::Txn(result) => {
                let mut result = result.clone();
                let put = result.results.iter_mut().find_map(|result| match result {
                    OpResult::Put(Some(kv)) => Some(kv),
                    _ => None,
                })?;
                put.mod_revision -= 1;
                Some(result)
            }
            _ => None,
        })?;
        good.answer(at, Answer::Txn(result))
    }),
    ("a removal that missed a key", &[Kind::Answer], |good| {
        let (at, result) = good.some(|_, op| match &op.answer {
            Answer::Txn(result) => {
                let mut result = result.clone();
                let gone = result.results.iter_mut().find_map(|result| match result {
                    OpResult::Delete(gone) if gone.len() > 1 => Some(gone),
                    _ => None,
                })?;
                gone.pop();
                Some(result)
            }
            _ => None,
        })?;
        good.answer(at, Answer::Txn(result))
    }),
    ("two writes with one revision", &[Kind::Rewritten], |good| {
        let (first, revision) = good.write()?;
        let (second, other) = good.write()?;
        let Answer::Txn(result) = &mut good.history.operations[second].answer else { return None };
        result.revision = revision;
        (first != second && revision != other).then_some(())
    }),
    ("a revision with two contents", &[Kind::Rewritten], |good| {
        // Another watch says otherwise.
        let seen = good.history.watches.iter().enumerate().find_map(|(number, watch)| {
            let all = watch.end.as_deref() == Some(b"\0");
            (!all && !watch.items.is_empty()).then_some(number)
        })?;
        let put = good.history.watches[seen].items.iter_mut().flat_map(|(_, commit)| &mut commit.events);
        put.filter(|event| event.kind == EventKind::Put).take(1).next()?.kv.value =
            Bytes::from_static(b"other");
        Some(())
    }),
    ("a write that nobody asked for", &[Kind::Unexplained, Kind::Answer], |good| {
        let (at, _) = good.write()?;
        good.history.operations.remove(at);
        Some(())
    }),
    ("a write that failed and happened", &[Kind::Unexplained, Kind::Answer], |good| {
        let (at, _) = good.write()?;
        good.answer(at, Answer::Refused(StoreError::LeaseNotFound))
    }),
    ("a write that happened before it was called", &[Kind::Order], |good| {
        let (at, revision) = good.write()?;
        let seen = good.timeline.first_seen(revision);
        let operation = &mut good.history.operations[at];
        if seen.index >= operation.done.index {
            return None;
        }
        operation.call = moment(seen.index + 1, seen.time);
        Some(())
    }),
    ("a revision without a change", &[Kind::Hole, Kind::Unexplained], |good| {
        let (at, revision) = good.write()?;
        good.history.operations.remove(at);
        for watch in &mut good.history.watches {
            watch.items.retain(|(_, commit)| commit.revision != revision);
        }
        Some(())
    }),
    ("a read of what was compacted", &[Kind::Compacted], |good| {
        let (_, revision) = good.some(|_, op| match (&op.request, &op.answer) {
            (Request::Range(_, _, options), Answer::Range(_)) => options.revision,
            _ => None,
        })?;
        good.add(0, Default::default(), Request::Compact(revision + 1), Answer::Done)
    }),
    ("a watch of what was compacted", &[Kind::Compacted], |good| {
        let from = good
            .history
            .watches
            .iter()
            .filter(|watch| !watch.items.is_empty())
            .find_map(|watch| watch.from)?;
        good.add(0, Default::default(), Request::Compact(from + 1), Answer::Done)
    }),
    ("a compaction that nobody did", &[Kind::Refusal], |good| {
        good.history.auto_compaction = false;
        good.history.operations.retain(|op| !matches!(op.request, Request::Compact(_)));
        let (at, _) = good.read()?;
        let Request::Range(_, _, options) = &mut good.history.operations[at].request else { return None };
        options.revision = Some(2);
        good.answer(at, Answer::Refused(StoreError::Compacted { oldest: 3 }))
    }),
    ("a refusal of what is there", &[Kind::Refusal], |good| {
        let (at, range) = good.read()?;
        let Request::Range(_, _, options) = &mut good.history.operations[at].request else { return None };
        options.revision = Some(range.revision);
        good.answer(at, Answer::Refused(StoreError::Compacted { oldest: range.revision }))
    }),
    ("a revision that is not of the future", &[Kind::Refusal], |good| {
        let (at, range) = good.read()?;
        let Request::Range(_, _, options) = &mut good.history.operations[at].request else { return None };
        options.revision = Some(range.revision);
        good.answer(at, Answer::Refused(StoreError::Future { current: range.revision }))
    }),
    ("a lease that works after its end", &[Kind::Lease, Kind::Unexplained], |good| {
        let (at, lease) = good.some(|_, op| match (&op.request, &op.answer) {
            (Request::Txn(txn), Answer::Txn(result)) if result.succeeded => {
                txn.success.iter().find_map(|op| match op {
                    Op::Put { lease, .. } if *lease != 0 => Some(*lease),
                    _ => None,
                })
            }
            _ => None,
        })?;
        let call = good.history.operations[at].call;
        good.add(call.index - 1, call.time, Request::Revoke(lease), Answer::Done)
    }),
    ("a lease that ended before its time", &[Kind::Unexplained], |good| {
        let expiries = good.timeline.expiries();
        let (revision, lease) = expiries.into_iter().next()?;
        let seen = good.timeline.first_seen(revision);
        // A renewal just before.
        good.add(seen.index - 1, seen.time, Request::KeepAlive(lease), Answer::Number(60))
    }),
    ("a lease that is missing in its time", &[Kind::Lease], |good| {
        let (at, _) = good.some(|_, op| match (&op.request, &op.answer) {
            (Request::KeepAlive(id), Answer::Number(_)) => Some(*id),
            _ => None,
        })?;
        let (call, request) = {
            let operation = &good.history.operations[at];
            (operation.call, operation.request.clone())
        };
        good.history.operations.retain(|op| !matches!(op.request, Request::Revoke(_)));
        let refused = Answer::Refused(StoreError::LeaseNotFound);
        good.add(call.index, call.time, request, refused)
    }),
    ("a renewal for another time", &[Kind::Lease], |good| {
        let (at, ttl) = good.some(|_, op| match (&op.request, &op.answer) {
            (Request::KeepAlive(_), Answer::Number(ttl)) => Some(*ttl),
            _ => None,
        })?;
        good.answer(at, Answer::Number(ttl + 1))
    }),
    ("a watch that left a commit out", &[Kind::WatchReliable, Kind::WatchProgress], |good| {
        let (watch, at) = good.item(|_, _, _| true)?;
        good.history.watches[watch].items.remove(at);
        Some(())
    }),
    ("a watch that began too late", &[Kind::WatchReliable, Kind::WatchProgress], |good| {
        let watch = good.history.watches.iter_mut().find(|watch| {
            let has_events = |(_, commit): &(_, Commit)| !commit.events.is_empty();
            watch.from.is_some() && watch.items.len() > 3 && watch.items[..2].iter().all(has_events)
        })?;
        watch.items.remove(0);
        Some(())
    }),
    ("a watch that delivered twice", &[Kind::WatchUnique], |good| {
        let (watch, at) = good.item(|_, _, _| true)?;
        let items = &mut good.history.watches[watch].items;
        let again = items[at].clone();
        items.insert(at + 1, again);
        Some(())
    }),
    ("a watch out of order", &[Kind::WatchOrder], |good| {
        let (watch, at) = good.item(|_, _, _| true)?;
        let items = &mut good.history.watches[watch].items;
        let (first, second) = (items[at].1.clone(), items[at + 1].1.clone());
        (items[at].1, items[at + 1].1) = (second, first);
        Some(())
    }),
    ("a watch that tore a commit", &[Kind::WatchAtomic], |good| {
        let at = good.item(|_, _, commit| commit.events.len() > 1)?;
        good.commit(at).events.pop();
        Some(())
    }),
    ("a watch that delivered a commit in two parts", &[Kind::WatchAtomic], |good| {
        let (watch, at) = good.item(|_, _, commit| commit.events.len() > 1)?;
        let items = &mut good.history.watches[watch].items;
        let (moment, mut rest) = items[at].clone();
        rest.events.remove(0);
        items[at].1.events.truncate(1);
        items.insert(at + 1, (moment, rest));
        Some(())
    }),
    ("a watch that mixed up the order in a commit", &[Kind::WatchContent], |good| {
        let at =
            good.item(|good, _, commit| commit.events.len() > 1 && good.timeline.changes(commit.revision).1)?;
        good.commit(at).events.swap(0, 1);
        Some(())
    }),
    ("a watch that lies about the state before", &[Kind::WatchContent], |good| {
        let at = good.item(|_, _, commit| commit.events.iter().any(|event| event.previous.is_some()))?;
        let event = good.commit(at).events.iter_mut().find(|event| event.previous.is_some())?;
        event.previous.as_mut()?.value = Bytes::from_static(b"other");
        Some(())
    }),
    ("a watch that knows a state before the first", &[Kind::WatchContent], |good| {
        let at = good.item(|_, _, commit| commit.events.iter().any(|event| event.previous.is_none()))?;
        let event = good.commit(at).events.iter_mut().find(|event| event.previous.is_none())?;
        event.previous = Some(event.kv.clone());
        Some(())
    }),
    ("a watch that delivers what it does not cover", &[Kind::WatchContent, Kind::WatchAtomic], |good| {
        let (watch, at) = good.item(|_, watch, commit| watch.end.is_some() && commit.events.len() > 1)?;
        let watch = &mut good.history.watches[watch];
        watch.start = watch.items[at].1.events[0].kv.key.clone();
        watch.end = None;
        Some(())
    }),
    ("a watch that delivers what is older than asked for", &[Kind::WatchContent], |good| {
        let (watch, at) = good.item(|_, watch, _| watch.from.is_some())?;
        let watch = &mut good.history.watches[watch];
        watch.from = Some(watch.items[at].1.revision + 1);
        Some(())
    }),
    ("a watch from now that delivers the past", &[Kind::WatchContent], |good| {
        let (watch, _) = good.item(|good, watch, _| {
            let first = watch.items.iter().find(|(_, commit)| !commit.events.is_empty());
            let known = good.timeline.observed_before(watch.call.index);
            first.is_some_and(|(_, commit)| commit.revision <= known)
        })?;
        good.history.watches[watch].from = None;
        Some(())
    }),
    ("progress ahead of what was delivered", &[Kind::WatchProgress], |good| {
        let (watch, at) = good.item(|_, _, _| true)?;
        let items = &mut good.history.watches[watch].items;
        let (moment, commit) = items[at].clone();
        items.insert(at, (moment, Commit { revision: commit.revision, events: Vec::new() }));
        Some(())
    }),
    ("progress of what does not exist", &[Kind::Hole, Kind::WatchProgress], |good| {
        let revision = good.timeline.last() + 3;
        let watch = good.history.watches.iter_mut().find(|watch| !watch.items.is_empty())?;
        let moment = watch.items.last()?.0;
        watch.items.push((moment, Commit { revision, events: Vec::new() }));
        Some(())
    }),
    ("a put above the quota", &[Kind::Alarm], |good| {
        good.put()?;
        good.history.quota.as_mut()?.bytes = 1;
        Some(())
    }),
    ("a put under an alarm", &[Kind::Alarm], |good| {
        good.put()?;
        good.history.operations.retain(|op| !matches!(op.request, Request::Alarm(..)));
        good.add(0, Default::default(), Request::Alarm(Alarm::NoSpace, true), Answer::Done)
    }),
    ("a removal from what is damaged", &[Kind::Alarm], |good| {
        good.write()?;
        good.history.operations.retain(|op| !matches!(op.request, Request::Alarm(..)));
        good.add(0, Default::default(), Request::Alarm(Alarm::Corrupt, true), Answer::Done)
    }),
    ("a refusal for want of space that there is", &[Kind::Alarm], |good| {
        let (at, _) = good.put()?;
        let quota = u64::MAX / 2;
        good.history.quota.as_mut()?.bytes = quota;
        good.history.operations.retain(|op| !matches!(op.request, Request::Alarm(..)));
        let Operation { call, request, .. } = good.history.operations.get(at)?.clone();
        let refused = Answer::Refused(StoreError::NoSpace { used: 0, quota });
        good.add(call.index, call.time, request, refused)
    }),
    ("a watch that was refused for nothing", &[Kind::Refusal], |good| {
        let watch = good.history.watches.iter_mut().find(|watch| watch.from.is_some_and(|from| from > 3))?;
        let oldest = watch.from? - 1;
        watch.finish = Some((watch.call, WatchEnd::Error(StoreError::Compacted { oldest })));
        Some(())
    }),
];

#[test]
fn every_corruption_is_seen() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..60 {
        let good = Good::new(seed);
        check(&good.history).expect("a good history");
        for (what, kinds, corrupt) in CORRUPTIONS {
            let mut bad = Good {
                history: good.history.clone(),
                timeline: Timeline::build(&good.history, &mut Default::default()).expect("a good history"),
                random: Random::new(seed),
            };
            if seen.get(what).is_some_and(|count| *count >= 8) || corrupt(&mut bad).is_none() {
                continue;
            }
            let violations: Vec<Violation> = match check(&bad.history) {
                Ok(_) => panic!("seed {seed}: {what} was not seen"),
                Err(violations) => violations,
            };
            let named = violations.iter().any(|violation| kinds.contains(&violation.kind));
            assert!(named, "seed {seed}: {what} was called {:?}", violations[0]);
            *seen.entry(what).or_default() += 1;
        }
    }
    for (what, ..) in CORRUPTIONS {
        assert!(
            seen.get(what).is_some_and(|count| *count >= 3),
            "{what} was tried {:?} times",
            seen.get(what)
        );
    }
}

/// Whoever forgets an answer knows less, but what happened is still explained.
#[test]
fn forgotten_answers_are_found_again() {
    let mut resolved = 0;
    for seed in 0..40 {
        let mut good = Good::new(seed);
        let before = check(&good.history).expect("a good history").resolved;
        for _ in 0..3 {
            let Some((at, _)) = good.write() else { continue };
            let operation = &mut good.history.operations[at];
            operation.answer = Answer::Unknown;
            operation.done = crate::model::NEVER;
        }
        match check(&good.history) {
            Ok(summary) => resolved += summary.resolved - before,
            Err(violations) => panic!("seed {seed}: {}", violations[0]),
        }
    }
    assert!(resolved > 50, "{resolved}");
}
