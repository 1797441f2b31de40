//! Tests of the engine: etcd's semantics, watches, faults, random crashes.

mod crash;
mod durability;
mod fuzz;
mod model;
mod semantics;
mod upkeep;
mod watches;

use super::disk::memory::MemDisk;
use super::{Embedded, Options};
use crate::kv::{Commit, Op, RangeOptions, Revision, Store, StoreError, Txn, TxnResult, WatchStream};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A store in memory whose time the test owns.
struct Fixture {
    disk: MemDisk,
    now: Arc<Mutex<Duration>>,
    options: Options,
    store: Embedded,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let disk = MemDisk::new(1);
        let now = Arc::new(Mutex::new(Duration::ZERO));
        let clock = now.clone();
        let mut options = Options { clock: Arc::new(move || *clock.lock()), ..Options::default() };
        change(&mut options);
        let store = Embedded::open_disk(Arc::new(disk.clone()), options.clone()).expect("opens");
        Self { disk, now, options, store }
    }

    /// Stops the store, does `between` to its disk, and opens it again.
    fn reopen(self, between: impl FnOnce(&MemDisk)) -> Result<Self, StoreError> {
        let Self { disk, now, options, store } = self;
        drop(store);
        between(&disk);
        let store = Embedded::open_disk(Arc::new(disk.clone()), options.clone())?;
        Ok(Self { disk, now, options, store })
    }

    fn advance(&self, by: Duration) {
        *self.now.lock() += by;
        self.store.tick();
    }

    async fn put(&self, key: &str, value: &str) -> Revision {
        self.txn(vec![put(key, value)]).await.expect("writes").revision
    }

    async fn delete(&self, key: &str) -> Revision {
        self.txn(vec![delete(key)]).await.expect("deletes").revision
    }

    async fn txn(&self, ops: Vec<Op>) -> Result<TxnResult, StoreError> {
        self.store.txn(Txn { success: ops, ..Txn::default() }).await
    }

    /// `key=value` of all keys, at `revision` or now.
    async fn dump(&self, revision: Option<Revision>) -> Result<Vec<String>, StoreError> {
        let options = RangeOptions { revision, ..RangeOptions::default() };
        let range = self.store.range(Bytes::new(), to_the_end(), options).await?;
        assert_eq!(range.count, range.kvs.len());
        Ok(range.kvs.iter().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect())
    }

    async fn watch(&self, prefix: &str, from: Option<Revision>, progress: bool) -> WatchStream {
        let end = crate::kv::prefix_end(prefix.as_bytes()).or_else(to_the_end);
        self.store.watch(bytes(prefix), end, from, progress).await.expect("watches")
    }
}

fn to_the_end() -> Option<Bytes> {
    Some(Bytes::from_static(b"\0"))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: bytes(key), value: bytes(value), lease: 0 }
}

fn delete(key: &str) -> Op {
    Op::Delete { start: bytes(key), end: None }
}

/// The next item of a stream, which must come soon.
async fn next(stream: &mut WatchStream) -> Option<Result<Commit, StoreError>> {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("an item in time")
}

/// The next commit as `revision: +key=value(previous) -key(previous)`.
async fn line(stream: &mut WatchStream) -> String {
    let commit = next(stream).await.expect("not the end").expect("no error");
    let events: Vec<_> = commit.events.iter().map(describe).collect();
    format!("{}: {}", commit.revision, events.join(" "))
}

fn describe(event: &crate::kv::Event) -> String {
    let previous = event.previous.as_ref().map_or("-", |kv| text(&kv.value));
    match event.kind {
        crate::kv::EventKind::Put => {
            format!("+{}={}({previous})", text(&event.kv.key), text(&event.kv.value))
        }
        crate::kv::EventKind::Delete => format!("-{}({previous})", text(&event.kv.key)),
    }
}
