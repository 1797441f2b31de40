//! What one request does to one state, said as simply as possible.

use bytes::Bytes;
use std::collections::BTreeMap;
use store::{
    Compare, Event, EventKind, KeyValue, Op, OpResult, Range, RangeOptions, Revision, Txn, TxnResult,
};

/// The keys that exist.
pub(crate) type Keys = BTreeMap<Bytes, KeyValue>;

/// Whether `[start, end)`, or the single key, covers `key`.
pub(crate) fn covers(start: &Bytes, end: &Option<Bytes>, key: &[u8]) -> bool {
    match end {
        None => key == start,
        Some(end) => key >= &start[..] && (&end[..] == b"\0" || key < &end[..]),
    }
}

/// What a transaction does.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) succeeded: bool,
    pub(crate) results: Vec<OpResult>,
    /// In the order of the operations.
    pub(crate) events: Vec<Event>,
    pub(crate) keys: Keys,
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let of = |key: &Bytes, read: fn(&KeyValue) -> i64| keys.get(key).map_or(0, read);
    match compare {
        Compare::ModRevision(key, want, than) => of(key, |kv| kv.mod_revision).cmp(than) == *want,
        Compare::CreateRevision(key, want, than) => of(key, |kv| kv.create_revision).cmp(than) == *want,
        Compare::Version(key, want, than) => of(key, |kv| kv.version).cmp(than) == *want,
        Compare::Lease(key, want, than) => of(key, |kv| kv.lease).cmp(than) == *want,
        Compare::Value(key, want, than) => keys.get(key).is_some_and(|kv| kv.value.cmp(than) == *want),
    }
}

/// Reads `keys`; the revision of the answer is not set.
pub(crate) fn range(keys: &Keys, start: &Bytes, end: &Option<Bytes>, options: &RangeOptions) -> Range {
    let mut found: Vec<KeyValue> = keys.values().filter(|kv| covers(start, end, &kv.key)).cloned().collect();
    let count = found.len();
    if options.count_only {
        return Range { count, ..Range::default() };
    }
    let more = options.limit > 0 && count > options.limit;
    if more {
        found.truncate(options.limit);
    }
    if options.keys_only {
        found.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Range { revision: 0, kvs: found, more, count }
}

/// Runs `txn` on `keys` as revision `next`; `at` are the states of the past.
pub(crate) fn run<'a>(
    txn: &Txn,
    keys: &Keys,
    next: Revision,
    at: impl Fn(Revision) -> Option<&'a Keys>,
) -> Effect {
    let succeeded = txn.compares.iter().all(|compare| holds(keys, compare));
    let mut effect = Effect { succeeded, results: Vec::new(), events: Vec::new(), keys: keys.clone() };
    for op in if succeeded { &txn.success } else { &txn.failure } {
        let result = match op {
            Op::Put { key, value, lease } => {
                let old = effect.keys.get(key).cloned();
                let kv = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: old.as_ref().map_or(next, |old| old.create_revision),
                    mod_revision: next,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                    lease: *lease,
                };
                effect.keys.insert(key.clone(), kv.clone());
                effect.events.push(Event { kind: EventKind::Put, kv, previous: old.clone() });
                OpResult::Put(old)
            }
            Op::Delete { start, end } => {
                let gone: Vec<_> =
                    effect.keys.values().filter(|kv| covers(start, end, &kv.key)).cloned().collect();
                for old in &gone {
                    effect.keys.remove(&old.key);
                    effect.events.push(removal(old, next));
                }
                OpResult::Delete(gone)
            }
            Op::Range { start, end, options } => {
                let past = options.revision.filter(|revision| *revision > 0).and_then(&at);
                OpResult::Range(range(past.unwrap_or(&effect.keys), start, end, options))
            }
        };
        effect.results.push(result);
    }
    effect
}

/// The event of a removal.
pub(crate) fn removal(old: &KeyValue, revision: Revision) -> Event {
    let kv = KeyValue {
        key: old.key.clone(),
        value: Bytes::new(),
        create_revision: 0,
        mod_revision: revision,
        version: 0,
        lease: 0,
    };
    Event { kind: EventKind::Delete, kv, previous: Some(old.clone()) }
}

/// Applies events of `revision` to `keys`.
pub(crate) fn apply(keys: &mut Keys, events: &[Event]) {
    for event in events {
        match event.kind {
            EventKind::Put => drop(keys.insert(event.kv.key.clone(), event.kv.clone())),
            EventKind::Delete => drop(keys.remove(&event.kv.key)),
        }
    }
}

/// Whether a transaction with this answer changed anything.
pub(crate) fn wrote(result: &TxnResult) -> bool {
    result.results.iter().any(|result| match result {
        OpResult::Put(_) => true,
        OpResult::Delete(gone) => !gone.is_empty(),
        OpResult::Range(_) => false,
    })
}

/// Whether two answers to a read say the same, their revisions aside.
pub(crate) fn same_range(left: &Range, right: &Range) -> bool {
    left.kvs == right.kvs && left.count == right.count && left.more == right.more
}

/// Whether two answers to an operation say the same.
pub(crate) fn same_result(left: &OpResult, right: &OpResult) -> bool {
    match (left, right) {
        (OpResult::Put(left), OpResult::Put(right)) => left == right,
        (OpResult::Delete(left), OpResult::Delete(right)) => left == right,
        (OpResult::Range(left), OpResult::Range(right)) => same_range(left, right),
        _ => false,
    }
}

/// Whether two events say the same, the states before aside.
pub(crate) fn same_change(left: &Event, right: &Event) -> bool {
    left.kind == right.kind && left.kv == right.kv
}

/// Whether both lists hold the same changes, in any order.
pub(crate) fn same_changes(left: &[Event], right: &[Event]) -> bool {
    left.len() == right.len() && left.iter().all(|event| right.iter().any(|other| same_change(event, other)))
}
