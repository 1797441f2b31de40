//! [`Timeline`]: the one order that a history has to agree with: the state at each revision, and who made it.
//!
//! Most revisions have a writer that was told so. For the others the changes are known from watches, and a
//! matching decides which of the writes without an answer made them, each at most once.

use super::check::{Found, Kind};
use super::history::{Answer, History, Moment, NEVER, Operation, Request};
use super::sequential::{self, Keys, apply, run, same_change, same_changes, wrote};
use super::{leases, to_the_end};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{Event, EventKind, LeaseId, Revision, StoreError};

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The operation with this number.
    Operation(usize),
    /// The end of a lease by its own.
    Expiry(LeaseId),
}

/// The order of everything.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// From revision 1 on.
    states: Vec<Keys>,
    /// Changes, from revision 2 on; and whether their order is known.
    changes: Vec<(Vec<Event>, bool)>,
    /// Who made them, from revision 2 on.
    pub(crate) makers: Vec<Maker>,
    /// (number, highest revision that anyone had seen then).
    observed: Vec<(u64, Revision)>,
    /// When each revision was first seen, by anyone, from revision 0 on.
    first_seen: Vec<Moment>,
    pub(crate) resolved: u64,
    pub(crate) leases_ended: u64,
}

/// The revision that an operation proves to exist.
pub(crate) fn seen(operation: &Operation) -> Option<Revision> {
    match (&operation.request, &operation.answer) {
        (_, Answer::Txn(result)) => Some(result.revision),
        (_, Answer::Range(range)) => Some(range.revision),
        (Request::Revision, Answer::Number(revision)) => Some(*revision),
        (_, Answer::Refused(StoreError::Future { current })) => Some(*current),
        _ => None,
    }
}

/// All moments at which a revision was seen.
fn observations(history: &History) -> Vec<(Moment, Revision)> {
    let operations = history.operations.iter().filter_map(|op| Some((op.done, seen(op)?)));
    let watches = history.watches.iter().flat_map(|watch| &watch.items);
    let mut all: Vec<_> =
        operations.chain(watches.map(|(moment, commit)| (*moment, commit.revision))).collect();
    all.sort_unstable_by_key(|(moment, _)| moment.index);
    all
}

/// What watches of everything say about each revision.
struct Witness {
    changes: BTreeMap<Revision, Vec<Event>>,
    /// Revisions that such a watch has passed.
    passed: Vec<(Revision, Revision)>,
}

impl Witness {
    fn new(history: &History, found: &mut Found) -> Option<Self> {
        let mut parts: BTreeMap<(Revision, &[u8]), &Event> = BTreeMap::new();
        let mut witness = Self { changes: BTreeMap::new(), passed: Vec::new() };
        for watch in &history.watches {
            let sees_all = watch.start.is_empty() && watch.end == to_the_end();
            for (_, commit) in &watch.items {
                for event in &commit.events {
                    let other = parts.entry((commit.revision, &event.kv.key)).or_insert(event);
                    if !same_change(event, other) {
                        let text =
                            format!("revision {} has two contents: {event:?} and {other:?}", commit.revision);
                        found.add(Kind::Rewritten, text);
                        return None;
                    }
                }
                if sees_all && !commit.events.is_empty() {
                    witness.changes.entry(commit.revision).or_insert_with(|| commit.events.clone());
                }
            }
            if let (true, Some((_, first)), Some((_, last))) =
                (sees_all, watch.items.first(), watch.items.last())
            {
                witness.passed.push((watch.from.unwrap_or(first.revision), last.revision));
            }
        }
        Some(witness)
    }

    fn has_passed(&self, revision: Revision) -> bool {
        self.passed.iter().any(|(from, to)| (*from..=*to).contains(&revision))
    }
}

impl Timeline {
    /// Finds the order; `None`, and why in `found`, when there is none.
    pub(crate) fn build(history: &History, found: &mut Found) -> Option<Self> {
        let mut writers: BTreeMap<Revision, usize> = BTreeMap::new();
        for (number, operation) in history.operations.iter().enumerate() {
            if let Answer::Txn(result) = &operation.answer
                && wrote(result)
                && let Some(other) = writers.insert(result.revision, number)
            {
                let text = format!(
                    "operations {other} and {number} were both told revision {}: {:?}, {operation:?}",
                    result.revision, history.operations[other]
                );
                found.add(Kind::Rewritten, text);
                return None;
            }
        }
        let witness = Witness::new(history, found)?;
        let mut timeline = Self::new(history);
        let last = timeline.first_seen.len() as Revision - 1;
        let mut gaps = Vec::new();
        for revision in 2..=last {
            let before = timeline.at(revision - 1)?;
            let (changes, keys, is_ordered) = match writers.get(&revision) {
                Some(number) => {
                    let Request::Txn(txn) = &history.operations[*number].request else { continue };
                    let effect = run(txn, before, revision, |past| timeline.at(past));
                    (effect.events, effect.keys, true)
                }
                None => {
                    let Some(changes) = witness.changes.get(&revision) else {
                        let why = match witness.has_passed(revision) {
                            true => "a watch of everything passed it and saw no change",
                            false => "nobody saw what it changed",
                        };
                        found.add(Kind::Hole, format!("revision {revision}: {why}"));
                        return None;
                    };
                    gaps.push(revision);
                    let mut keys = before.clone();
                    apply(&mut keys, changes);
                    (changes.clone(), keys, false)
                }
            };
            let number = writers.get(&revision).copied().unwrap_or(usize::MAX);
            timeline.makers.push(Maker::Operation(number));
            timeline.states.push(keys);
            timeline.changes.push((changes, is_ordered));
        }
        timeline.explain(history, &gaps, found).then_some(timeline)
    }

    fn new(history: &History) -> Self {
        let all = observations(history);
        let last = all.iter().map(|(_, revision)| *revision).max().unwrap_or(1).max(1);
        let mut first_seen = vec![NEVER; last as usize + 1];
        let mut highest = 0;
        let mut observed = Vec::new();
        for (moment, revision) in all {
            for seen in &mut first_seen[(highest as usize + 1).min(revision as usize + 1)..=revision as usize]
            {
                *seen = moment;
            }
            highest = highest.max(revision);
            observed.push((moment.index, highest));
        }
        Self {
            states: vec![Keys::new()],
            changes: Vec::new(),
            makers: Vec::new(),
            observed,
            first_seen,
            resolved: 0,
            leases_ended: 0,
        }
    }

    /// The latest revision.
    pub(crate) fn last(&self) -> Revision {
        self.states.len() as Revision
    }

    /// The state at a revision, if there is one.
    pub(crate) fn at(&self, revision: Revision) -> Option<&Keys> {
        self.states.get(usize::try_from(revision - 1).ok()?)
    }

    /// What a revision changed, and whether the order of the changes is known.
    pub(crate) fn changes(&self, revision: Revision) -> (&[Event], bool) {
        let at = usize::try_from(revision - 2).ok().and_then(|at| self.changes.get(at));
        at.map_or((&[], true), |(changes, is_ordered)| (changes, *is_ordered))
    }

    /// The highest revision that anyone had seen before the moment with this number.
    pub(crate) fn observed_before(&self, index: u64) -> Revision {
        let count = self.observed.partition_point(|(at, _)| *at < index);
        count.checked_sub(1).map_or(1, |at| self.observed[at].1)
    }

    /// When anyone first knew of a revision.
    pub(crate) fn first_seen(&self, revision: Revision) -> Moment {
        self.first_seen.get(revision as usize).copied().unwrap_or(NEVER)
    }

    /// Leases that ended by themselves, and the revisions that it made.
    pub(crate) fn expiries(&self) -> Vec<(Revision, LeaseId)> {
        let all = self.makers.iter().enumerate();
        all.filter_map(|(at, maker)| match maker {
            Maker::Expiry(lease) => Some((at as Revision + 2, *lease)),
            Maker::Operation(_) => None,
        })
        .collect()
    }

    /// Finds a maker for each revision in `gaps`.
    fn explain(&mut self, history: &History, gaps: &[Revision], found: &mut Found) -> bool {
        let candidates: Vec<Vec<Maker>> = gaps.iter().map(|gap| self.candidates(history, *gap)).collect();
        let mut taken: Vec<(Maker, usize)> = Vec::new();
        for gap in 0..gaps.len() {
            if !assign(gap, &candidates, &mut taken, &mut Vec::new()) {
                let (changes, _) = self.changes(gaps[gap]);
                let text = format!(
                    "no write explains revision {}: {changes:?} (possible makers: {:?})",
                    gaps[gap], candidates[gap]
                );
                found.add(Kind::Unexplained, text);
                return false;
            }
        }
        for (maker, gap) in taken {
            self.makers[gaps[gap] as usize - 2] = maker;
            match maker {
                Maker::Operation(number) if matches!(history.operations[number].request, Request::Txn(_)) => {
                    self.resolved += 1;
                }
                _ => self.leases_ended += 1,
            }
        }
        true
    }

    fn candidates(&self, history: &History, gap: Revision) -> Vec<Maker> {
        let (Some(before), (changes, _)) = (self.at(gap - 1), self.changes(gap)) else { return Vec::new() };
        let ended = ended_lease(before, changes);
        let mut makers = Vec::new();
        for (number, operation) in history.operations.iter().enumerate() {
            // Whoever is called after a later revision was seen cannot have made this one.
            if gap <= self.observed_before(operation.call.index) {
                continue;
            }
            let explains = match (&operation.request, &operation.answer) {
                (Request::Txn(txn), Answer::Unknown) => {
                    let effect = run(txn, before, gap, |past| self.at(past));
                    same_changes(&effect.events, changes)
                }
                (Request::Revoke(id), Answer::Done | Answer::Unknown) => Some(*id) == ended,
                _ => false,
            };
            if explains {
                makers.push(Maker::Operation(number));
            }
        }
        let seen: Duration = self.first_seen(gap).time;
        makers.extend(ended.filter(|id| leases::may_end(history, *id, seen)).map(Maker::Expiry));
        makers
    }
}

/// The lease whose end the changes are: exactly its keys are removed.
fn ended_lease(before: &Keys, changes: &[Event]) -> Option<LeaseId> {
    let lease = before.get(&changes.first()?.kv.key)?.lease;
    let gone = changes.iter().all(|event| {
        event.kind == EventKind::Delete && before.get(&event.kv.key).is_some_and(|kv| kv.lease == lease)
    });
    let count = before.values().filter(|kv| kv.lease == lease).count();
    let removals: Vec<Event> = before
        .values()
        .filter(|kv| kv.lease == lease)
        .map(|kv| sequential::removal(kv, changes[0].kv.mod_revision))
        .collect();
    (lease != 0 && gone && count == changes.len() && same_changes(&removals, changes)).then_some(lease)
}

/// Gives `gap` one of its candidates, moving others if need be (a matching by augmenting paths).
fn assign(
    gap: usize,
    candidates: &[Vec<Maker>],
    taken: &mut Vec<(Maker, usize)>,
    visited: &mut Vec<Maker>,
) -> bool {
    for maker in &candidates[gap] {
        if visited.contains(maker) {
            continue;
        }
        visited.push(*maker);
        match taken.iter().position(|(other, _)| other == maker) {
            None => {
                taken.push((*maker, gap));
                return true;
            }
            Some(at) => {
                let holder = taken[at].1;
                if assign(holder, candidates, taken, visited) {
                    // The holder has moved to another one; its old entry is ours.
                    taken[at].1 = gap;
                    return true;
                }
            }
        }
    }
    false
}
