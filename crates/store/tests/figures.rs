//! Figures of upkeep: opening a million keys, writing while a snapshot is taken, size under a load without end. Meant
//! for a release build on a quiet machine: `cargo test --release -p store --test figures -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use bytes::Bytes;
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::embedded::{Embedded, Options};
use store::{Op, Store, Txn};

const KEYS: u64 = 1_000_000;
const WRITERS: u64 = 16;
const WINDOW: Duration = Duration::from_secs(5);

fn put(key: u64, value: &Bytes) -> Op {
    let key = format!("/registry/configmaps/default/figure-{key:08}");
    Op::Put { key: key.into(), value: value.clone(), lease: 0 }
}

async fn fill(store: &Embedded) {
    let value: Bytes = vec![b'x'; 1024].into();
    for from in (0..KEYS).step_by(1000) {
        let success = (from..from + 1000).map(|key| put(key, &value)).collect();
        store.txn(Txn { success, ..Txn::default() }).await.unwrap();
    }
}

/// Latencies of single puts by some writers, until told to stop.
async fn write(store: Arc<Embedded>, writer: u64, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let value: Bytes = vec![b'y'; 1024].into();
    let mut took = Vec::new();
    let mut key = writer;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let success = vec![put(key % KEYS, &value)];
        store.txn(Txn { success, ..Txn::default() }).await.unwrap();
        took.push(start.elapsed());
        key += 7919 * WRITERS;
    }
    took
}

/// p50, p99 and number of puts while `work` goes on.
async fn measured(store: &Arc<Embedded>, work: impl Future<Output = ()>) -> (Duration, Duration, usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer, stop.clone()))).collect();
    work.await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 99 / 100], all.len())
}

/// Takes a snapshot as `windlass store snapshot save` does.
async fn save(store: &Embedded, file: &std::path::Path) -> u64 {
    use std::io::Write;
    let (_, mut pieces) = store.snapshot().unwrap();
    let mut out = std::fs::File::create(file).unwrap();
    let (mut bytes, mut unsynced) = (0, 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        out.write_all(&piece).unwrap();
        bytes += piece.len() as u64;
        unsynced += piece.len();
        if unsynced > 8 << 20 {
            out.sync_data().unwrap();
            unsynced = 0;
        }
    }
    out.sync_all().unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and 3 GB; needs a release build"]
async fn opening_and_saving_a_million_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Embedded::open(&path, Options::default()).unwrap();
    let start = Instant::now();
    fill(&store).await;
    println!("filled in {:?}", start.elapsed());
    drop(store);
    for log in ["from the log", "from a checkpoint"] {
        let start = Instant::now();
        let store = Embedded::open(&path, Options::default()).unwrap();
        println!("opened {log} in {:?}: {:?}", start.elapsed(), store.stats().keys);
        let start = Instant::now();
        store::maintenance::Maintenance::defragment(&store).await.unwrap();
        println!("defragmented in {:?}", start.elapsed());
    }
    let start = Instant::now();
    let store = Arc::new(Embedded::open(&path, Options::default()).unwrap());
    println!("opened in {:?}", start.elapsed());

    let quiet = measured(&store, tokio::time::sleep(WINDOW)).await;
    let file = dir.path().join("snapshot");
    let (mut bytes, mut took) = (0, Duration::ZERO);
    let busy = measured(&store, async {
        let start = Instant::now();
        bytes = save(&store, &file).await;
        took = start.elapsed();
    })
    .await;
    let again = measured(&store, tokio::time::sleep(WINDOW)).await;
    println!(
        "snapshot of {bytes} bytes in {took:?}; puts (p50, p99, number): {quiet:?}, while saving {busy:?}, after {again:?}"
    );
    assert_eq!(store::embedded::check_snapshot(&file).unwrap().keys, KEYS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; needs a release build"]
async fn size_under_a_load_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { history: Duration::from_secs(5), ..Options::default() };
    let store = Arc::new(Embedded::open(dir.path(), options).unwrap());
    let value: Bytes = vec![b'z'; 1024].into();
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_secs(40) {
        for _ in 0..100 {
            let txns = (0..64).map(|at| {
                let success = vec![put((written + at) % 10_000, &value)];
                store.txn(Txn { success, ..Txn::default() })
            });
            assert!(futures::future::join_all(txns).await.iter().all(Result::is_ok));
            written += 64;
        }
        let stats = store.stats();
        let disk = stats.log_bytes + stats.checkpoint_bytes;
        if written % 64_000 == 0 {
            println!(
                "{written} updates of 10,000 keys: {} MiB in memory ({} MiB history), {} MiB on the disk",
                stats.bytes >> 20,
                stats.history_bytes >> 20,
                disk >> 20
            );
        }
        assert!(stats.bytes < 320 << 20 && disk < 900 << 20, "{stats:?}");
    }
}
