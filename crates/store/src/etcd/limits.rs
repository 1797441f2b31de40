//! What etcd should refuse and does not: a key that one transaction writes and removes.
//!
//! etcd finds such keys in ranges with an end, but takes a range to the end of the key space for an empty one. Limits
//! that a cluster may be started with (operations, bytes) are left to it.

use super::convert::END;
use crate::kv::{Op, StoreError, Txn};

/// Refuses what would be done in part or twice.
pub(super) fn check(txn: &Txn) -> Result<(), StoreError> {
    for branch in [&txn.success, &txn.failure] {
        let open_ended = branch.iter().filter_map(|op| match op {
            Op::Delete { start, end: Some(end) } if end.as_ref() == END => Some(start),
            _ => None,
        });
        let Some(from) = open_ended.min() else { continue };
        if branch.iter().any(|op| matches!(op, Op::Put { key, .. } if key >= from)) {
            return Err(StoreError::Invalid("duplicate key given in txn request".to_owned()));
        }
    }
    Ok(())
}
