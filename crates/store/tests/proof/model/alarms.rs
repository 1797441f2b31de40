//! Quota and alarms: no put is taken above the quota or under an alarm, nothing is written to a store that was called
//! damaged, and nobody is refused for want of space without a reason.

use super::check::{Found, Kind};
use super::history::{Answer, History, Operation, Request};
use super::sequential::{Keys, wrote};
use super::timeline::Timeline;
use store::maintenance::Alarm;
use store::{Op, StoreError, Txn, TxnResult};

/// How the quota counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Bytes that the keys may take; 0 is no limit.
    pub(crate) bytes: u64,
    /// What each key counts beside its bytes.
    pub(crate) overhead: u64,
}

impl Quota {
    fn used(&self, keys: &Keys) -> u64 {
        keys.values().map(|kv| (kv.key.len() + kv.value.len()) as u64 + self.overhead).sum()
    }

    fn exceeds(&self, keys: &Keys, wanted: u64) -> bool {
        self.bytes > 0 && self.used(keys) + wanted > self.bytes
    }
}

fn wanted(ops: &[Op]) -> Option<u64> {
    let sizes = ops.iter().filter_map(|op| match op {
        Op::Put { key, value, .. } => Some((key.len() + value.len()) as u64),
        _ => None,
    });
    sizes.reduce(|left, right| left + right)
}

pub(crate) fn check(history: &History, timeline: &Timeline, found: &mut Found) {
    let Some(quota) = history.quota else { return };
    for operation in &history.operations {
        match (&operation.request, &operation.answer) {
            (Request::Txn(txn), Answer::Txn(result)) => {
                taken(history, timeline, quota, operation, (txn, result), found);
            }
            (request, Answer::Refused(StoreError::NoSpace { quota: told, .. })) => {
                let wanted = match request {
                    Request::Txn(txn) => wanted(&txn.success).max(wanted(&txn.failure)),
                    Request::Grant(..) => Some(0),
                    _ => None,
                };
                let is_right = *told == quota.bytes
                    && wanted.is_some_and(|_| may_be_full(history, timeline, quota, operation));
                if !is_right {
                    found.add(Kind::Alarm, format!("refused for want of space: {operation:?}"));
                }
            }
            _ => {}
        }
    }
}

fn taken(
    history: &History,
    timeline: &Timeline,
    quota: Quota,
    operation: &Operation,
    (txn, result): (&Txn, &TxnResult),
    found: &mut Found,
) {
    let wanted = wanted(if result.succeeded { &txn.success } else { &txn.failure });
    if let (Some(wanted), Some(before)) = (wanted, timeline.at(result.revision - 1))
        && quota.exceeds(before, wanted)
    {
        found.add(Kind::Alarm, format!("taken above the quota: {operation:?}"));
    }
    let forbids = |alarm: &Alarm| match alarm {
        Alarm::NoSpace => wanted.is_some(),
        Alarm::Corrupt => wrote(result),
    };
    for alarm in [Alarm::NoSpace, Alarm::Corrupt].iter().filter(|alarm| forbids(alarm)) {
        if is_set(history, *alarm, operation) {
            found.add(Kind::Alarm, format!("done under {alarm:?}: {operation:?}"));
        }
    }
}

/// Whether an alarm was surely set all the time that an operation took.
fn is_set(history: &History, alarm: Alarm, operation: &Operation) -> bool {
    let with = |is_set: bool| {
        let alarms = history.operations.iter();
        alarms.filter(
            move |other| matches!(other.request, Request::Alarm(kind, set) if kind == alarm && set == is_set),
        )
    };
    let mut raises = with(true)
        .filter(|raise| matches!(raise.answer, Answer::Done) && raise.done.index < operation.call.index);
    raises.any(|raise| {
        !with(false)
            .any(|disarm| disarm.done.index > raise.call.index && disarm.call.index < operation.done.index)
    })
}

/// Whether the alarm may have been set: someone raised it, or wanted more than fits, before the answer.
fn may_be_full(history: &History, timeline: &Timeline, quota: Quota, operation: &Operation) -> bool {
    let earlier = history.operations.iter().filter(|other| other.call.index < operation.done.index);
    let largest = (1..=timeline.last()).filter_map(|revision| timeline.at(revision));
    let largest = largest.max_by_key(|keys| quota.used(keys));
    earlier.into_iter().any(|other| match &other.request {
        Request::Alarm(Alarm::NoSpace, true) => true,
        Request::Txn(txn) => {
            let most = wanted(&txn.success).max(wanted(&txn.failure)).unwrap_or(0);
            largest.is_some_and(|keys| quota.exceeds(keys, most))
        }
        _ => false,
    })
}
