//! What is asked of the writer, and the answers that wait until they are durable.

use super::view::View;
use crate::kv::{LeaseId, Op, Revision, StoreError, Txn, TxnResult};
use crate::maintenance::{Alarm, LeaseState};
use std::collections::BTreeSet;
use tokio::sync::oneshot::Sender;

/// Where an answer goes. A caller that went away no longer cares.
pub(crate) type Reply<T> = Sender<Result<T, StoreError>>;

/// A question to the writer.
pub(crate) enum Request {
    Txn(Txn, Reply<TxnResult>),
    Compact(Revision, Reply<()>),
    Grant(LeaseId, i64, Reply<LeaseId>),
    Revoke(LeaseId, Reply<()>),
    KeepAlive(LeaseId, Reply<i64>),
    Leases(Reply<Vec<LeaseId>>),
    Lease(LeaseId, Reply<LeaseState>),
    /// Set an alarm or take it back; the answer is whether it was set before.
    Alarm(Alarm, bool, Reply<bool>),
    /// Answered when what compactions gave up is freed.
    Settle(Reply<()>),
    /// Write a checkpoint now, whether it is worth it or not.
    Defragment(Reply<()>),
    /// Remove no file until a [`Request::Release`].
    Hold(Reply<Held>),
    Release,
    /// Have a look at the clock.
    Wake,
    /// The checkpoint at this revision is written, or failed.
    Checkpointed(Revision, std::io::Result<()>),
    Stop,
}

/// Sends an answer, or the error instead.
type Send = Box<dyn FnOnce(Option<&StoreError>) + std::marker::Send>;

/// An answer that is given when the batch is durable, or replaced by the error when it cannot be.
pub(crate) enum Answer {
    Txn(Reply<TxnResult>, TxnResult),
    Unit(Reply<()>),
    Number(Reply<i64>, i64),
    Any(Send),
}

impl Answer {
    pub(crate) fn send(self, failure: Option<&StoreError>) {
        match self {
            Self::Txn(reply, result) => drop(reply.send(failure.cloned().map_or(Ok(result), Err))),
            Self::Unit(reply) => drop(reply.send(failure.cloned().map_or(Ok(()), Err))),
            Self::Any(send) => send(failure),
            Self::Number(reply, number) => drop(reply.send(failure.cloned().map_or(Ok(number), Err))),
        }
    }
}

/// Answers with `value` or the error.
pub(crate) fn any<T: std::marker::Send + 'static>(reply: Reply<T>, value: T) -> Answer {
    Answer::Any(Box::new(move |failure| drop(reply.send(failure.cloned().map_or(Ok(value), Err)))))
}

/// Answers with `error`.
pub(crate) fn refused<T: std::marker::Send + 'static>(reply: Reply<T>, error: StoreError) -> Answer {
    Answer::Any(Box::new(move |failure| drop(reply.send(Err(failure.cloned().unwrap_or(error))))))
}

/// What the directory held at one moment. None of it is removed until [`Request::Release`].
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The state then.
    pub(crate) view: View,
    /// Revision of the checkpoint; the file need not exist when nothing was checkpointed yet.
    pub(crate) base: Revision,
    /// Numbers of the segments that are not written to any more, oldest first.
    pub(crate) sealed: Vec<u64>,
    /// Number of the last segment, and the end of what was durable of it.
    pub(crate) end: (u64, u64),
}

/// Whether no branch of `txn` writes.
pub(crate) fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op, Op::Range { .. }))
}

/// Refuses what etcd refuses: empty keys, and a key written twice, or written and removed, in one transaction.
pub(crate) fn validate(ops: &[Op], max_bytes: usize) -> Result<(), StoreError> {
    let mut puts = BTreeSet::new();
    let mut size = 0;
    for op in ops {
        if let Op::Put { key, value, .. } = op {
            if key.is_empty() {
                return Err(StoreError::Invalid("key is not provided".to_owned()));
            }
            if !puts.insert(&key[..]) {
                return Err(StoreError::Invalid("duplicate key given in txn request".to_owned()));
            }
            size += key.len() + value.len();
        }
    }
    if size > max_bytes {
        let why = format!("request is too large: {size} bytes, at most {max_bytes}; split it");
        return Err(StoreError::Invalid(why));
    }
    for op in ops {
        if let Op::Delete { start, end } = op {
            let keys = super::view::Keys::new(start.clone(), end.clone());
            if puts.range(&start[..]..).next().is_some_and(|key| keys.contains(key)) {
                return Err(StoreError::Invalid("duplicate key given in txn request".to_owned()));
            }
        }
    }
    Ok(())
}
