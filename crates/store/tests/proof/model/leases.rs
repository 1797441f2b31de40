//! Leases, as far as they are deterministic: none ends before its time unless it is revoked, none is used after its
//! end, and its keys go with it. How much later than its time a lease ends is not said anywhere.
//!
//! The workload gives each lease an id of its own, so a lease has one life.

use super::check::{Found, Kind};
use super::history::{Answer, History, Moment, Operation, Request};
use super::timeline::{Timeline, seen};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{EventKind, LeaseId, Op, Revision, StoreError};

/// What is known about a lease.
#[derive(Debug, Default)]
struct Life {
    /// Someone asked for it.
    asked: Option<Moment>,
    /// It surely exists from here on, with this time to live.
    granted: Option<(Moment, i64)>,
    /// (call, answer) of each renewal, the grant included.
    renewed: Vec<(Moment, Moment)>,
    /// Someone asked for its end.
    revoking: Option<Moment>,
    /// It surely has ended.
    ended: Option<Moment>,
}

fn lives(history: &History) -> BTreeMap<LeaseId, Life> {
    let mut lives: BTreeMap<LeaseId, Life> = BTreeMap::new();
    let earlier = |old: Option<Moment>, new: Moment| Some(old.map_or(new, |old| old.min(new)));
    for Operation { call, done, request, answer, .. } in &history.operations {
        match request {
            Request::Grant(id, ttl) => {
                let life = lives.entry(*id).or_default();
                life.asked = earlier(life.asked, *call);
                if let Answer::Number(_) = answer {
                    life.granted = Some((*done, *ttl));
                    life.renewed.push((*call, *done));
                }
            }
            Request::KeepAlive(id) => {
                let life = lives.entry(*id).or_default();
                match answer {
                    Answer::Number(_) => life.renewed.push((*call, *done)),
                    Answer::Refused(StoreError::LeaseNotFound)
                        if life.granted.is_some_and(|(granted, _)| granted < *call) =>
                    {
                        life.ended = earlier(life.ended, *done);
                    }
                    _ => {}
                }
            }
            Request::Revoke(id) => {
                let life = lives.entry(*id).or_default();
                if !matches!(answer, Answer::Refused(_)) {
                    life.revoking = earlier(life.revoking, *call);
                }
                if let Answer::Done = answer {
                    life.ended = earlier(life.ended, *done);
                }
            }
            _ => {}
        }
    }
    lives
}

impl Life {
    /// The time before which it does not end by itself, by what is known before the moment with this number.
    fn safe_until(&self, index: u64) -> Option<Duration> {
        let (_, ttl) = self.granted?;
        let known = self.renewed.iter().filter(|(_, done)| done.index < index);
        known.map(|(call, _)| call.time + Duration::from_secs(ttl.unsigned_abs())).max()
    }

    /// Whether it surely exists during an operation.
    fn is_alive(&self, call: Moment, done: Moment) -> bool {
        self.safe_until(call.index).is_some_and(|until| done.time < until)
            && self.revoking.is_none_or(|revoking| revoking > done)
    }
}

/// Whether a lease may have ended by itself at `time`.
pub(crate) fn may_end(history: &History, id: LeaseId, time: Duration) -> bool {
    let lives = lives(history);
    let Some(life) = lives.get(&id).filter(|life| life.asked.is_some()) else { return false };
    // A renewal that was answered after that time says nothing about it.
    let known = life.renewed.iter().filter(|(_, done)| done.time <= time);
    let ttl = |id: LeaseId| {
        history.operations.iter().find_map(|operation| match operation.request {
            Request::Grant(granted, ttl) if granted == id => Some(ttl),
            _ => None,
        })
    };
    let ttl = Duration::from_secs(ttl(id).unwrap_or(0).unsigned_abs());
    known.map(|(call, _)| call.time + ttl).max().is_none_or(|until| time >= until)
}

pub(crate) fn check(history: &History, timeline: &Timeline, found: &mut Found) {
    let lives = lives(history);
    for operation in &history.operations {
        answer(history, &lives, operation, found);
    }
    let last = last_revisions(timeline);
    for (id, life) in &lives {
        let (Some(ended), Some(last)) = (life.ended, last.get(id)) else { continue };
        let later = history.operations.iter().filter(|operation| operation.call > ended);
        if let Some(revision) = later.filter_map(seen).find(|revision| revision <= last) {
            let text = format!("lease {id} ended at {ended:?}, and revision {revision} still has keys of it");
            found.add(Kind::Lease, text);
        }
    }
}

fn answer(history: &History, lives: &BTreeMap<LeaseId, Life>, operation: &Operation, found: &mut Found) {
    let Operation { call, done, request, answer, .. } = operation;
    let life = |id: &LeaseId| lives.get(id);
    let is_alive = |id: &LeaseId| life(id).is_some_and(|life| life.is_alive(*call, *done));
    let is_over = |id: &LeaseId| life(id).is_none_or(|life| life.ended.is_some_and(|ended| ended < *call));
    let wrong = match (request, answer) {
        (Request::Txn(txn), Answer::Txn(result)) => {
            let ops = if result.succeeded { &txn.success } else { &txn.failure };
            let leases = ops.iter().filter_map(|op| match op {
                Op::Put { lease, .. } if *lease != 0 => Some(lease),
                _ => None,
            });
            leases.into_iter().any(is_over)
        }
        (Request::Txn(txn), Answer::Refused(StoreError::LeaseNotFound)) => {
            let ops = txn.success.iter().chain(&txn.failure);
            let mut leases = ops.filter_map(|op| match op {
                Op::Put { lease, .. } if *lease != 0 => Some(lease),
                _ => None,
            });
            leases.all(is_alive)
        }
        (Request::KeepAlive(id), Answer::Number(ttl)) => {
            let granted = life(id).and_then(|life| life.granted).map_or(*ttl, |(_, granted)| granted);
            is_over(id) || *ttl < granted || (history.exact_ttl && *ttl != granted)
        }
        (Request::Revoke(id), Answer::Done) => life(id).is_none_or(|life| life.asked.is_none()),
        (Request::KeepAlive(id) | Request::Revoke(id), Answer::Refused(StoreError::LeaseNotFound)) => {
            is_alive(id)
        }
        (Request::Grant(id, _), Answer::Refused(StoreError::LeaseExists)) => {
            life(id).is_none_or(|life| life.asked.is_none_or(|asked| asked >= *call))
        }
        _ => false,
    };
    if wrong {
        found.add(Kind::Lease, format!("{operation:?}"));
    }
}

/// The last revision at which a key had each lease.
fn last_revisions(timeline: &Timeline) -> BTreeMap<LeaseId, Revision> {
    let mut last = BTreeMap::new();
    for revision in 2..=timeline.last() {
        for event in timeline.changes(revision).0 {
            let before = timeline.at(revision - 1).and_then(|keys| keys.get(&event.kv.key));
            if let Some(old) = before.filter(|kv| kv.lease != 0) {
                last.insert(old.lease, revision - 1);
            }
        }
        for event in timeline.changes(revision).0.iter().filter(|event| event.kind == EventKind::Put) {
            last.insert(event.kv.lease, revision);
        }
    }
    let end = timeline.last();
    last.extend(timeline.at(end).into_iter().flatten().map(|(_, kv)| (kv.lease, end)));
    last.remove(&0);
    last
}
