//! Regular compaction: history older than an interval is forgotten, by one of the API servers on the store.
//!
//! Who counts the key `compact_rev_key` on first compacts for this interval; the others see that it moved and wait.
//! The key and its meaning are upstream's, so its API servers take part. Deliberately absent: defragmentation.

use crate::kv::{Compare, Op, OpResult, RangeOptions, Revision, Store, StoreError, Txn};
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const KEY: Bytes = Bytes::from_static(b"compact_rev_key");

/// What one API server knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// How often the key was counted on, as far as this server knows.
    version: i64,
    /// The revision at its last look: what is older can go at the next one.
    revision: Revision,
}

impl Turn {
    /// Takes one turn: compacts to the revision of the last one if no other server was faster. Returns what to
    /// start the next one from, and whether history was forgotten.
    ///
    /// # Errors
    /// Those of the store; the turn is then to be taken again.
    pub async fn take(self, store: &dyn Store) -> Result<(Self, bool), StoreError> {
        let put = Op::Put { key: KEY, value: self.revision.to_string().into(), lease: 0 };
        let txn = Txn {
            compares: vec![Compare::Version(KEY, Ordering::Equal, self.version)],
            success: vec![put],
            failure: vec![Op::Range { start: KEY, end: None, options: RangeOptions::default() }],
        };
        let result = store.txn(txn).await?;
        if !result.succeeded {
            let version = result.results.iter().find_map(|result| match result {
                OpResult::Range(range) => range.kvs.first().map(|kv| kv.version),
                _ => None,
            });
            return Ok((Self { version: version.unwrap_or(0), revision: result.revision }, false));
        }
        let next = Self { version: self.version + 1, revision: result.revision };
        if self.revision == 0 {
            // Nothing is known yet about how old what is.
            return Ok((next, false));
        }
        match store.compact(self.revision).await {
            Ok(()) => Ok((next, true)),
            // Someone has compacted by hand.
            Err(StoreError::Compacted { .. }) => Ok((next, false)),
            Err(error) => Err(error),
        }
    }
}

/// Compacts every `every`, until dropped. Zero is never.
pub async fn run(store: Arc<dyn Store>, every: Duration) {
    if every.is_zero() {
        return;
    }
    let mut turn = Turn::default();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match turn.take(store.as_ref()).await {
            Ok((next, compacted)) => {
                if compacted {
                    tracing::debug!(revision = turn.revision, "compacted the store");
                }
                turn = next;
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "failed to compact the store; trying again in a while"),
        }
    }
}
