//! Transactions whose answer was lost: what became of them.
//!
//! A conditional change of one key leaves a trace: the first change of the key after the expected revision is either
//! ours or proves that ours can never happen. So a change of an existing key may simply be tried again: only one of
//! the two attempts can find the expected revision. Not so a creation: the key may have come and gone, and the first
//! attempt, still on its way in a member that hangs, could bring it back. It is only looked for, not repeated.

use super::cluster::Repeat;
use super::failure::Failure;
use super::{Etcd, watch};
use crate::kv::{Compare, Event, EventKind, KeyValue, Op, OpResult, Revision, StoreError, Txn, TxnResult};
use crate::rpc;
use bytes::Bytes;
use std::cmp::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How long a creation is looked for: one that a hanging member holds may not come for minutes.
const LOOK: Duration = Duration::from_secs(3);

/// Whether no branch of `txn` writes.
pub(super) fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op, Op::Range { .. }))
}

/// A transaction that changes one key, if its last change is the expected one, and nothing else.
#[derive(Debug, PartialEq, Eq)]
struct Guarded {
    key: Bytes,
    /// 0: the key must not exist.
    expected: Revision,
    /// What is written; `None` removes.
    value: Option<Bytes>,
}

impl Guarded {
    fn of(txn: &Txn) -> Option<Self> {
        if txn.failure.iter().any(|op| !matches!(op, Op::Range { .. })) {
            return None;
        }
        let (key, value) = match txn.success.as_slice() {
            [Op::Put { key, value, .. }] => (key, Some(value)),
            [Op::Delete { start, end: None }] => (start, None),
            _ => return None,
        };
        let expected = txn.compares.iter().find_map(|compare| match compare {
            Compare::ModRevision(compared, Ordering::Equal, revision) if compared == key => Some(*revision),
            _ => None,
        })?;
        Some(Self { key: key.clone(), expected, value: value.cloned() })
    }

    /// What the change `event` of the key says about this transaction.
    fn judge(&self, event: &Event) -> Verdict {
        let before = match (&event.previous, event.kind) {
            (Some(previous), _) => previous.mod_revision,
            (None, EventKind::Put) if event.kv.version == 1 => 0,
            // History no longer knows.
            (None, _) => return Verdict::Unclear,
        };
        match (before == self.expected, &self.value, event.kind) {
            (false, _, _) => Verdict::Other,
            (true, Some(value), EventKind::Put) if event.kv.value == *value => Verdict::Ours,
            (true, Some(_), _) => Verdict::Other,
            (true, None, EventKind::Put) => Verdict::Other,
            // One removal looks like another.
            (true, None, EventKind::Delete) => Verdict::Unclear,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ours,
    Other,
    Unclear,
}

/// What history says.
enum Found {
    /// The transaction was done: its revision, and what the key was before.
    Done(Revision, Option<KeyValue>),
    /// It was not done up to the revision that was looked at.
    NotDone,
    Unclear,
}

impl Etcd {
    /// Finds out what became of `txn`, whose answer was lost; `before` is a revision from before it was sent.
    pub(super) async fn resolve(
        &self,
        txn: &Txn,
        request: rpc::TxnRequest,
        before: Revision,
        why: String,
    ) -> Result<TxnResult, StoreError> {
        let Some(guarded) = Guarded::of(txn) else { return Err(StoreError::Unknown(why)) };
        let patience = self.cluster.options.request_timeout;
        let known = if guarded.expected > 0 {
            match self.send_txn(Repeat::Safe, request).await {
                Ok(result) if result.succeeded => return Ok(result),
                Ok(result) => {
                    let from = guarded.expected + 1;
                    match timeout(patience, self.find(&guarded, from, Some(result.revision))).await {
                        Ok(Found::NotDone) => return Ok(result),
                        known => known,
                    }
                }
                Err(Failure::Refused(error)) => {
                    tracing::debug!(%error, "a write whose answer was lost cannot be tried again");
                    return Err(StoreError::Unknown(why));
                }
                Err(Failure::NotTaken(_) | Failure::Unsure(_)) => return Err(StoreError::Unknown(why)),
            }
        } else {
            timeout(LOOK, self.find(&guarded, before + 1, None)).await
        };
        match known {
            Ok(Found::Done(revision, previous)) => Ok(TxnResult {
                succeeded: true,
                revision,
                results: vec![match guarded.value {
                    Some(_) => OpResult::Put(previous),
                    None => OpResult::Delete(previous.into_iter().collect()),
                }],
            }),
            _ => Err(StoreError::Unknown(why)),
        }
    }

    /// Looks for the transaction in history from `from` on; up to `until`, or for as long as the caller waits.
    async fn find(&self, guarded: &Guarded, from: Revision, until: Option<Revision>) -> Found {
        let keys = (guarded.key.clone(), None);
        let opened = watch::Watch::open(self.cluster.clone(), keys, from, until.is_some()).await;
        let Ok(mut watch) = opened else { return Found::Unclear };
        loop {
            let Ok(commit) = watch.next().await else { return Found::Unclear };
            for event in commit.events {
                match guarded.judge(&event) {
                    Verdict::Ours => return Found::Done(commit.revision, event.previous),
                    Verdict::Unclear => return Found::Unclear,
                    // With an expected revision, nothing after this change can be ours.
                    Verdict::Other if guarded.expected > 0 => return Found::NotDone,
                    Verdict::Other => {}
                }
            }
            if until.is_some_and(|until| commit.revision >= until) {
                return Found::NotDone;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::RangeOptions;

    fn put(key: &'static str, value: &'static str) -> Op {
        Op::Put { key: key.into(), value: value.into(), lease: 0 }
    }

    fn txn(expected: Revision, op: Op) -> Txn {
        let read = Op::Range { start: "a".into(), end: None, options: RangeOptions::default() };
        let compare = Compare::ModRevision("a".into(), Ordering::Equal, expected);
        Txn { compares: vec![compare], success: vec![op], failure: vec![read] }
    }

    fn event(kind: EventKind, value: &'static str, revision: Revision, before: Option<Revision>) -> Event {
        let kv = |value: &'static str, revision| KeyValue {
            key: "a".into(),
            value: value.into(),
            create_revision: 1,
            mod_revision: revision,
            version: before.map_or(1, |_| 2),
            lease: 0,
        };
        Event { kind, kv: kv(value, revision), previous: before.map(|revision| kv("old", revision)) }
    }

    #[test]
    fn only_one_conditional_change_of_one_key_can_be_resolved() {
        assert!(Guarded::of(&txn(7, put("a", "1"))).is_some());
        assert!(Guarded::of(&txn(7, put("b", "1"))).is_none());
        let mut two = txn(7, put("a", "1"));
        two.success.push(put("b", "1"));
        assert!(Guarded::of(&two).is_none());
        let mut writes = txn(7, put("a", "1"));
        writes.failure = vec![put("a", "2")];
        assert!(Guarded::of(&writes).is_none());
    }

    #[test]
    fn what_a_change_says() {
        let update = Guarded::of(&txn(7, put("a", "1"))).unwrap();
        assert_eq!(update.judge(&event(EventKind::Put, "1", 9, Some(7))), Verdict::Ours);
        assert_eq!(update.judge(&event(EventKind::Put, "2", 9, Some(7))), Verdict::Other);
        assert_eq!(update.judge(&event(EventKind::Put, "1", 9, Some(8))), Verdict::Other);
        assert_eq!(update.judge(&event(EventKind::Delete, "", 9, Some(7))), Verdict::Other);
        let create = Guarded::of(&txn(0, put("a", "1"))).unwrap();
        assert_eq!(create.judge(&event(EventKind::Put, "1", 9, None)), Verdict::Ours);
        assert_eq!(create.judge(&event(EventKind::Put, "1", 9, Some(7))), Verdict::Other);
        let remove = Guarded::of(&txn(7, Op::Delete { start: "a".into(), end: None })).unwrap();
        assert_eq!(remove.judge(&event(EventKind::Delete, "", 9, Some(7))), Verdict::Unclear);
        assert_eq!(remove.judge(&event(EventKind::Put, "1", 9, Some(7))), Verdict::Other);
    }
}
