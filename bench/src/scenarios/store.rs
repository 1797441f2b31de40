//! `store`: the embedded store through its trait: durable puts beside the disk's own sync, many keys in memory and
//! opened again, ranges, watchers.

use crate::report::{Latencies, Report};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use futures::StreamExt;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::embedded::{Embedded, Options as Engine};
use store::{Op, RangeOptions, Store, Txn};
use tokio::task::JoinSet;

/// Size of a value, in bytes.
const VALUE: usize = 1024;
/// Keys written by one transaction while loading.
const PORTION: usize = 1000;

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Directory on the disk to measure [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Puts per pass
    #[arg(long, default_value_t = 20_000)]
    puts: usize,
    /// Keys of 1 KiB in the large store
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Watchers
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Events that each of them sees
    #[arg(long, default_value_t = 1000)]
    events: usize,
}

/// Runs the scenario.
pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let dir = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.context("failed to make a directory; name another one with --dir")?;
    syncs(dir.path(), report)?;
    let engine = Engine { quota: 0, ..Engine::default() };
    let small = dir.path().join("small");
    let store = Arc::new(Embedded::open(&small, engine.clone())?);
    for writers in [1, 16, 256] {
        puts(&store, options.puts, writers, report).await?;
    }
    watchers(&store, options, report).await?;
    idle_watchers(&store, report).await?;
    drop(store);
    large(&dir.path().join("large"), engine, options.keys, report).await
}

/// What the disk does alone: one write of 1 KiB and its sync.
fn syncs(dir: &Path, report: &mut Report) -> Result<()> {
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let mut latencies = Latencies::default();
    let start = Instant::now();
    for _ in 0..300 {
        let start = Instant::now();
        file.write_all(&[7; VALUE])?;
        file.sync_data()?;
        latencies.0.push(start.elapsed());
    }
    report.operations("write and fdatasync of the disk", start.elapsed(), latencies);
    Ok(())
}

fn put(key: String) -> Txn {
    let op = Op::Put { key: key.into(), value: Bytes::from(vec![b'v'; VALUE]), lease: 0 };
    Txn { success: vec![op], ..Txn::default() }
}

async fn puts(store: &Arc<Embedded>, count: usize, writers: usize, report: &mut Report) -> Result<()> {
    // One writer alone waits for each sync.
    let each = if writers == 1 { count / 10 } else { count / writers };
    let before = store.stats();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(each);
            for at in 0..each {
                let start = Instant::now();
                store.txn(put(format!("/bench/{writer}/{}", at % 100))).await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.0.extend(done??);
    }
    report.operations(&format!("put, {writers} writers"), start.elapsed(), latencies);
    let after = store.stats();
    report.operations(
        &format!("  syncs of these, {writers} writers (mean)"),
        start.elapsed(),
        mean(after.syncs - before.syncs, after.sync_nanoseconds - before.sync_nanoseconds),
    );
    Ok(())
}

/// As many latencies as there were syncs, all of them the mean.
fn mean(count: u64, nanoseconds: u64) -> Latencies {
    let one = Duration::from_nanos(nanoseconds / count.max(1));
    Latencies(vec![one; usize::try_from(count).unwrap_or(0)])
}

async fn watchers(store: &Arc<Embedded>, options: &Options, report: &mut Report) -> Result<()> {
    let expected = options.events;
    let mut tasks = JoinSet::new();
    // One that never reads: nobody may wait for it.
    let _slow = store.watch(Bytes::from_static(b"/watched"), None, None, false).await?;
    for _ in 0..options.watchers {
        let mut events = store.watch(Bytes::from_static(b"/watched"), None, None, false).await?;
        tasks.spawn(async move {
            let mut arrivals = Vec::with_capacity(expected);
            while arrivals.len() < expected {
                events.next().await.context("a watch ended early")??;
                arrivals.push(Instant::now());
            }
            anyhow::Ok(arrivals)
        });
    }
    let start = Instant::now();
    let mut sent = Vec::with_capacity(expected);
    for at in 0..expected {
        // A thousand a second, if the disk can.
        tokio::time::sleep_until((start + Duration::from_millis(at as u64)).into()).await;
        store.txn(put("/watched".to_owned())).await?;
        sent.push(Instant::now());
    }
    let mut latencies = Latencies::default();
    while let Some(arrivals) = tasks.join_next().await {
        let arrivals = arrivals??;
        ensure!(arrivals.len() == expected, "a watcher missed events");
        let late = arrivals.iter().zip(&sent).map(|(got, sent)| got.saturating_duration_since(*sent));
        latencies.0.extend(late);
    }
    report.operations(&format!("events to {} watchers", options.watchers), start.elapsed(), latencies);
    Ok(())
}

async fn idle_watchers(store: &Arc<Embedded>, report: &mut Report) -> Result<()> {
    const COUNT: u64 = 100_000;
    let before = resident()?;
    let mut streams = Vec::new();
    for at in 0..COUNT {
        streams.push(store.watch(format!("/idle/{at}").into(), None, None, false).await?);
    }
    memory(report, "per watcher", resident()?.saturating_sub(before) / COUNT);
    drop(streams);
    Ok(())
}

async fn large(dir: &Path, engine: Engine, keys: usize, report: &mut Report) -> Result<()> {
    let before = resident()?;
    let store = Embedded::open(dir, engine.clone())?;
    memory(report, "of an idle store", resident()?.saturating_sub(before));
    let start = Instant::now();
    let mut latencies = Latencies::default();
    for portion in 0..keys / PORTION {
        let op = |at| Op::Put {
            key: format!("/registry/things/{:09}", portion * PORTION + at).into(),
            value: Bytes::from(vec![b'v'; VALUE]),
            lease: 0,
        };
        let txn = Txn { success: (0..PORTION).map(op).collect(), ..Txn::default() };
        let start = Instant::now();
        store.txn(txn).await?;
        latencies.0.push(start.elapsed());
    }
    report.operations(&format!("load {keys} keys, {PORTION} at once"), start.elapsed(), latencies);
    let loaded = resident()?.saturating_sub(before);
    memory(report, "with all keys", loaded);
    memory(report, "per key of 1 KiB", loaded / keys.max(1) as u64);
    reads(&store, keys, report).await?;
    drop(store);
    let start = Instant::now();
    let store = tokio::task::block_in_place(|| Embedded::open(dir, engine))?;
    report.operations("open it again", start.elapsed(), Latencies(vec![start.elapsed()]));
    ensure!(store.stats().keys == keys as u64, "keys are missing");
    Ok(())
}

async fn reads(store: &Embedded, keys: usize, report: &mut Report) -> Result<()> {
    let mut latencies = Latencies::default();
    let start = Instant::now();
    let options = RangeOptions { limit: 10_000, ..RangeOptions::default() };
    for at in 0..100 {
        let start = Instant::now();
        let from = format!("/registry/things/{:09}", at * (keys / 200));
        let end = format!("/registry/things/{:09}", at * (keys / 200) + 10_000);
        let range = store.range(from.into(), Some(end.into()), options.clone()).await?;
        ensure!(range.kvs.len() == 10_000.min(keys), "a range of {} keys", range.kvs.len());
        latencies.0.push(start.elapsed());
    }
    report.operations("range of 10,000 keys", start.elapsed(), latencies);
    let mut latencies = Latencies::default();
    let start = Instant::now();
    for at in 0..100_000 {
        let start = Instant::now();
        let key = format!("/registry/things/{:09}", (at * 7919) % keys);
        ensure!(
            store.range(key.into(), None, RangeOptions::default()).await?.kvs.len() == 1,
            "a missing key"
        );
        latencies.0.push(start.elapsed());
    }
    report.operations("read of one key", start.elapsed(), latencies);
    Ok(())
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("failed to read /proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("an unknown format")?.parse()?;
    Ok(pages * 4096)
}

fn memory(report: &mut Report, what: &str, bytes: u64) {
    report.row(vec![
        ("operation", json!(format!("memory {what}, bytes"))),
        ("count", json!(bytes)),
        ("per second", json!("")),
        ("p50 ms", json!("")),
        ("p90 ms", json!("")),
        ("p99 ms", json!("")),
    ]);
}
