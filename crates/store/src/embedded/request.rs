//! What is asked of the writer, and the answers that wait until they are durable.

use crate::kv::{LeaseId, Op, Revision, StoreError, Txn, TxnResult};
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
    /// Have a look at the clock.
    Wake,
    /// The checkpoint at this revision is written, or failed.
    Checkpointed(Revision, std::io::Result<()>),
    Stop,
}

/// An answer that is given when the batch is durable, or replaced by the error when it cannot be.
pub(crate) enum Answer {
    Txn(Reply<TxnResult>, TxnResult),
    Unit(Reply<()>),
    Number(Reply<i64>, i64),
}

impl Answer {
    pub(crate) fn send(self, failure: Option<&StoreError>) {
        match self {
            Self::Txn(reply, result) => drop(reply.send(failure.cloned().map_or(Ok(result), Err))),
            Self::Unit(reply) => drop(reply.send(failure.cloned().map_or(Ok(()), Err))),
            Self::Number(reply, number) => drop(reply.send(failure.cloned().map_or(Ok(number), Err))),
        }
    }
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
