//! [`Prefixed`]: a store whose keys below one prefix are kept below another (`--etcd-prefix`).
//!
//! Deliberately absent: hiding what lies outside the prefix. Keys that do not start with it pass as they are.

use crate::kv::{
    Commit, Compare, Event, KeyValue, LeaseId, Op, OpResult, Range, RangeOptions, Revision, Store,
    StoreError, Txn, TxnResult, WatchStream,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::sync::Arc;

/// A store that shows `inside` to its users and keeps `outside` in `store`.
pub struct Prefixed {
    store: Arc<dyn Store>,
    map: Map,
}

#[derive(Clone)]
struct Map {
    inside: Bytes,
    outside: Bytes,
}

/// Replaces the prefix `from` with `to`.
fn replace(key: &Bytes, from: &Bytes, to: &Bytes) -> Bytes {
    match key.strip_prefix(from.as_ref()) {
        None => key.clone(),
        Some(rest) => {
            let mut mapped = BytesMut::with_capacity(to.len() + rest.len());
            mapped.extend_from_slice(to);
            mapped.extend_from_slice(rest);
            mapped.freeze()
        }
    }
}

impl Map {
    fn out(&self, key: &Bytes) -> Bytes {
        replace(key, &self.inside, &self.outside)
    }

    fn kv(&self, mut kv: KeyValue) -> KeyValue {
        kv.key = replace(&kv.key, &self.outside, &self.inside);
        kv
    }

    fn range(&self, mut range: Range) -> Range {
        range.kvs = range.kvs.into_iter().map(|kv| self.kv(kv)).collect();
        range
    }

    fn event(&self, event: Event) -> Event {
        Event { kind: event.kind, kv: self.kv(event.kv), previous: event.previous.map(|kv| self.kv(kv)) }
    }

    fn op(&self, op: Op) -> Op {
        match op {
            Op::Put { key, value, lease } => Op::Put { key: self.out(&key), value, lease },
            Op::Delete { start, end } => {
                Op::Delete { start: self.out(&start), end: end.map(|end| self.out(&end)) }
            }
            Op::Range { start, end, options } => {
                Op::Range { start: self.out(&start), end: end.map(|end| self.out(&end)), options }
            }
        }
    }

    fn compare(&self, compare: Compare) -> Compare {
        match compare {
            Compare::ModRevision(key, order, value) => Compare::ModRevision(self.out(&key), order, value),
            Compare::CreateRevision(key, order, value) => {
                Compare::CreateRevision(self.out(&key), order, value)
            }
            Compare::Version(key, order, value) => Compare::Version(self.out(&key), order, value),
            Compare::Value(key, order, value) => Compare::Value(self.out(&key), order, value),
            Compare::Lease(key, order, value) => Compare::Lease(self.out(&key), order, value),
        }
    }

    fn result(&self, result: OpResult) -> OpResult {
        match result {
            OpResult::Put(previous) => OpResult::Put(previous.map(|kv| self.kv(kv))),
            OpResult::Delete(removed) => {
                OpResult::Delete(removed.into_iter().map(|kv| self.kv(kv)).collect())
            }
            OpResult::Range(range) => OpResult::Range(self.range(range)),
        }
    }
}

impl Prefixed {
    /// Keeps keys that start with `inside` below `outside` in `store`.
    pub fn new(store: Arc<dyn Store>, inside: &str, outside: &str) -> Self {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Self { store, map: Map { inside: bytes(inside), outside: bytes(outside) } }
    }
}

#[async_trait]
impl Store for Prefixed {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn range(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        options: RangeOptions,
    ) -> Result<Range, StoreError> {
        let end = end.map(|end| self.map.out(&end));
        let range = self.store.range(self.map.out(&start), end, options).await?;
        Ok(self.map.range(range))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        let map = &self.map;
        let mapped = Txn {
            compares: txn.compares.into_iter().map(|compare| map.compare(compare)).collect(),
            success: txn.success.into_iter().map(|op| map.op(op)).collect(),
            failure: txn.failure.into_iter().map(|op| map.op(op)).collect(),
        };
        let mut result = self.store.txn(mapped).await?;
        result.results = result.results.into_iter().map(|result| map.result(result)).collect();
        Ok(result)
    }

    async fn watch(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        from: Option<Revision>,
        progress: bool,
    ) -> Result<WatchStream, StoreError> {
        let end = end.map(|end| self.map.out(&end));
        let stream = self.store.watch(self.map.out(&start), end, from, progress).await?;
        let map = self.map.clone();
        let mapped = stream.map(move |commit| {
            commit.map(|Commit { revision, events }| Commit {
                revision,
                events: events.into_iter().map(|event| map.event(event)).collect(),
            })
        });
        Ok(mapped.boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<LeaseId, StoreError> {
        self.store.lease_grant(id, ttl).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.store.lease_revoke(id).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError> {
        self.store.lease_keep_alive(id).await
    }
}
