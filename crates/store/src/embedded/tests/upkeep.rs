//! Alarms, bounded history, space given back, verification in use, snapshots as a stream, full disks.

use super::*;
use crate::embedded::disk::Disk;
use crate::embedded::disk::memory::Fault;
use crate::embedded::{check_snapshot, restore_ahead, summarize};
use crate::maintenance::{Alarm, Maintenance};

const KIB: usize = 1024;

#[tokio::test]
async fn the_quota_sets_an_alarm_that_stays_until_it_is_taken_back() -> Result<(), StoreError> {
    let fixture = Fixture::new(|options| options.quota = 10_000);
    let big = "x".repeat(4 * KIB);
    fixture.put("a", &big).await;
    fixture.put("b", &big).await;
    let error = fixture.txn(vec![put("c", &big)]).await.expect_err("the quota");
    assert!(matches!(error, StoreError::NoSpace { quota: 10_000, .. }), "{error:?}");
    assert!(error.to_string().contains("windlass store alarm disarm"), "{error}");
    assert_eq!(fixture.store.alarms().await?, [Alarm::NoSpace]);
    // Removals are taken, but no more data, however small and however much room there is.
    fixture.delete("a").await;
    assert!(matches!(fixture.txn(vec![put("c", "1")]).await, Err(StoreError::NoSpace { .. })));
    assert!(matches!(fixture.store.lease_grant(0, 10).await, Err(StoreError::NoSpace { .. })));
    let fixture = fixture.reopen(|disk| disk.crash())?;
    assert_eq!(fixture.store.alarms().await?, [Alarm::NoSpace]);
    assert!(fixture.txn(vec![put("c", "1")]).await.is_err());
    assert!(fixture.store.disarm(Alarm::NoSpace).await?);
    assert!(!fixture.store.disarm(Alarm::NoSpace).await?);
    fixture.put("c", &big).await;
    // Disarmed without room, it comes again.
    assert!(fixture.txn(vec![put("d", &big)]).await.is_err());
    fixture.store.disarm(Alarm::NoSpace).await?;
    assert!(fixture.txn(vec![put("d", &big)]).await.is_err());
    assert_eq!(fixture.store.alarms().await?, [Alarm::NoSpace]);
    Ok(())
}

#[tokio::test]
async fn alarms_survive_a_checkpoint_but_are_not_in_snapshots() -> Result<(), StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = Embedded::open(&path, Options::default())?;
    for at in 0..10 {
        store.txn(Txn { success: vec![put("k", &at.to_string())], ..Txn::default() }).await?;
    }
    store.raise(Alarm::Corrupt).await?;
    let error = store.txn(Txn { success: vec![put("k", "x")], ..Txn::default() }).await.expect_err("alarm");
    assert!(error.to_string().contains("CORRUPT alarm"), "{error}");
    store.disarm(Alarm::Corrupt).await?;
    store.raise(Alarm::NoSpace).await?;
    store.defragment().await?;
    assert_eq!(store.stats().checkpoints, 1);
    let file = dir.path().join("snapshot");
    store.save_snapshot(&file)?;
    drop(store);
    assert_eq!(Embedded::open(&path, Options::default())?.alarms().await?, [Alarm::NoSpace]);
    let restored = dir.path().join("restored");
    restore_ahead(&file, &restored, 0, |_, _| {})?;
    assert_eq!(Embedded::open(&restored, Options::default())?.alarms().await?, []);
    Ok(())
}

/// A day of updates without end, on a clock of our own: what is held in memory and on the disk is what five minutes
/// of it make, and no more.
#[tokio::test]
async fn a_steady_load_never_makes_the_store_grow() -> Result<(), StoreError> {
    const KEYS: u64 = 50;
    let fixture = Fixture::new(|options| {
        options.segment_bytes = 64 << 10;
        options.checkpoint_bytes = 256 << 10;
    });
    let (mut most_memory, mut most_disk, mut most_history) = (0, 0, 0);
    let value = "x".repeat(200);
    // One update of a second, as from a hundred nodes' leases thinned by ten.
    for second in 0..24 * 3600 / 4_u64 {
        fixture.put(&format!("k{}", second % KEYS), &value).await;
        fixture.advance(Duration::from_secs(4));
        if second % 16 != 0 {
            continue;
        }
        fixture.store.settle().await?;
        let stats = fixture.store.stats();
        most_memory = most_memory.max(stats.bytes);
        most_disk = most_disk.max(fixture.disk.size());
        most_history = most_history.max(stats.revision - stats.compacted);
    }
    let updates = 300 / 4;
    // Five minutes, rounded up to a sample; never less than was promised.
    assert!((updates..updates * 12 / 10).contains(&most_history), "{most_history}");
    let version = 200 + 3 + 224;
    assert!(most_memory < version * (KEYS + updates as u64 * 12 / 10), "{most_memory}");
    // What may go before a checkpoint is worth it, a segment that is written to, history, and the checkpoint.
    assert!(most_disk < 2 * (256 << 10), "{most_disk}");
    assert!(fixture.store.stats().checkpoints >= 5, "{:?}", fixture.store.stats());
    // When the load ends, what it left goes too.
    fixture.advance(Duration::from_secs(400));
    fixture.put("last", "1").await;
    fixture.advance(Duration::from_secs(20));
    fixture.store.settle().await?;
    fixture.advance(Duration::from_secs(300));
    fixture.store.settle().await?;
    let stats = fixture.store.stats();
    assert_eq!((stats.compacted, stats.keys), (stats.revision, KEYS + 1));
    assert!(stats.bytes < version * (KEYS + 2), "{stats:?}");
    Ok(())
}

#[tokio::test]
async fn defragment_gives_the_log_back() -> Result<(), StoreError> {
    let fixture = Fixture::new(|_| {});
    for at in 0..1000 {
        fixture.put(&format!("k{}", at % 10), &"x".repeat(KIB)).await;
    }
    let before = fixture.disk.size();
    assert!(before > 1 << 20, "{before}");
    fixture.store.defragment().await?;
    // History stays as long as the process.
    assert!(fixture.dump(Some(500)).await.is_ok());
    assert!(fixture.disk.size() < 20 << 10, "{} of {before}", fixture.disk.size());
    assert_eq!(fixture.store.status().size, fixture.disk.size());
    let dump = fixture.dump(None).await?;
    let fixture = fixture.reopen(|disk| disk.crash())?;
    assert_eq!(fixture.dump(None).await?, dump);
    assert!(matches!(fixture.dump(Some(500)).await, Err(StoreError::Compacted { oldest: 1001 })));
    fixture.store.defragment().await?;
    assert_eq!(fixture.store.stats().checkpoints, 0);
    // What comes after it is in the new segment, leases too.
    fixture.store.lease_grant(9, 60).await?;
    fixture.store.defragment().await?;
    let fixture = fixture.reopen(|disk| disk.crash())?;
    assert_eq!(fixture.store.lease_keep_alive(9).await?, 60);
    Ok(())
}

#[tokio::test]
async fn defragment_on_a_full_disk_fails_and_changes_nothing() -> Result<(), StoreError> {
    let fixture = Fixture::new(|_| {});
    for at in 0..20 {
        fixture.put("k", &at.to_string()).await;
    }
    for step in 1..8 {
        fixture.disk.set_fault(Fault::NoSpace(fixture.disk.operations() + step));
        if fixture.store.defragment().await.is_ok() {
            break;
        }
        fixture.disk.set_fault(Fault::None);
        // The store goes on.
        fixture.put("k", &format!("after {step}")).await;
    }
    fixture.disk.set_fault(Fault::None);
    fixture.store.defragment().await?;
    let dump = fixture.dump(None).await?;
    let fixture = fixture.reopen(|disk| disk.crash())?;
    assert_eq!(fixture.dump(None).await?, dump);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_in_use_finds_what_is_damaged() -> Result<(), StoreError> {
    for checkpointed in [false, true] {
        let fixture = Fixture::new(|options| options.segment_bytes = 4 * KIB as u64);
        fixture.store.lease_grant(7, 60).await?;
        for at in 0..200 {
            fixture.put(&format!("k{:02}", at % 60), &format!("{at}{}", "x".repeat(200))).await;
        }
        fixture.delete("k00").await;
        if checkpointed {
            fixture.store.defragment().await?;
            fixture.put("k01", "later").await;
        }
        let verify =
            || tokio::task::block_in_place(|| fixture.store.verify(|done, all| assert!(done <= all)));
        let report = verify()?;
        assert_eq!((report.keys, report.leases), (59, 1));
        assert_eq!(report.revision, fixture.store.revision().await?);
        let names = fixture.disk.list().expect("lists");
        for name in names.iter().filter(|name| *name != "lock") {
            let size = fixture.disk.open(name).expect("opens").size().expect("a size");
            for bit in [100, size * 4, size * 8 - 1] {
                fixture.disk.flip(name, bit);
                let error = verify().expect_err("damage");
                assert!(
                    matches!(&error, StoreError::Corrupt { file, .. } if file.contains(name)),
                    "{error:?}"
                );
                fixture.disk.flip(name, bit);
            }
        }
        // Who reads holds the files; afterwards they may go again.
        verify()?;
        fixture.put("k02", "later").await;
        fixture.store.defragment().await?;
        assert_eq!(fixture.store.stats().checkpoints, if checkpointed { 2 } else { 1 });
        verify()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_as_a_stream_is_the_file_and_can_be_put_ahead() -> Result<(), StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = Fixture::new(|_| {});
    fixture.store.lease_grant(7, 60).await?;
    for at in 0..500 {
        fixture.put(&format!("k{at:03}"), &"x".repeat(5 * KIB)).await;
    }
    let (revision, mut pieces) = fixture.store.snapshot()?;
    let before = fixture.dump(None).await?;
    // Writers are not held up by a snapshot that nobody takes, and it does not see what they do.
    fixture.put("k000", "later").await;
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    let file = dir.path().join("snapshot");
    std::fs::write(&file, &bytes).expect("writes");
    let summary = summarize(&file, |done, all| assert!(done <= all))?;
    assert_eq!((summary.report.revision, summary.report.keys, summary.report.leases), (revision, 500, 1));
    assert_eq!(summary.hash[..], bytes[bytes.len() - 32..]);

    let path = dir.path().join("ahead");
    restore_ahead(&file, &path, 1000, |_, _| {})?;
    let restored = Embedded::open(&path, Options::default())?;
    assert_eq!(restored.revision().await?, revision + 1000);
    let range = restored.range(Bytes::new(), to_the_end(), RangeOptions::default()).await?;
    let found: Vec<_> = range.kvs.iter().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect();
    assert_eq!(found, before);
    assert!(range.kvs.iter().all(|kv| kv.mod_revision <= revision));
    // Whoever has seen something that the snapshot does not know must not go on from there.
    let watch = restored.watch(Bytes::new(), to_the_end(), Some(revision + 5), false).await;
    assert!(matches!(watch.err(), Some(StoreError::Compacted { .. })));
    drop(restored);
    assert!(
        restore_ahead(&file, &path, 0, |_, _| {}).is_err_and(|error| error.to_string().contains("not empty"))
    );

    std::fs::write(&file, b"kind: Pod and not a snapshot, but long enough for one").expect("writes");
    let error = check_snapshot(&file).expect_err("no snapshot").to_string();
    assert!(error.contains("not a snapshot of"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writes_until_there_is_room() -> Result<(), StoreError> {
    for step in 1..6 {
        let mut fixture = Fixture::new(|options| options.segment_bytes = 2000);
        fixture.store.lease_grant(7, 60).await?;
        let mut acknowledged = Vec::new();
        fixture.disk.set_fault(Fault::NoSpace(fixture.disk.operations() + 20 + step));
        let value = "x".repeat(300);
        let error = loop {
            let at = acknowledged.len();
            match fixture.txn(vec![put(&format!("k{at:03}"), &value)]).await {
                Ok(_) => acknowledged.push(format!("k{at:03}={value}")),
                Err(error) => break error.to_string(),
            }
        };
        for part in ["memory:wal-", "no storage space", "read-only until there is room", "free space"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let verify = || tokio::task::block_in_place(|| fixture.store.verify(|_, _| {}));
        assert_eq!(fixture.dump(None).await?, acknowledged);
        assert_eq!(verify()?.keys, acknowledged.len() as u64);
        // Said in every way, and what needs no log goes on.
        assert_eq!(fixture.store.alarms().await?, [Alarm::NoSpace]);
        assert!(fixture.store.metrics().contains("etcd_server_is_read_only 1"));
        assert_eq!(fixture.store.lease_keep_alive(7).await?, 60);
        assert_eq!(fixture.store.leases().await?, [7]);
        // Tried again, and still no room.
        fixture.advance(Duration::from_secs(2));
        assert!(fixture.txn(vec![put("k", "1")]).await.is_err());
        fixture.disk.set_fault(Fault::None);
        assert!(fixture.txn(vec![put("k", "1")]).await.is_err(), "step {step}: not before it is tried again");
        fixture.advance(Duration::from_secs(2));
        let revision = fixture.txn(vec![put("k", "1")]).await?.revision;
        assert_eq!(revision, acknowledged.len() as i64 + 2, "step {step}");
        acknowledged.insert(0, "k=1".to_owned());
        assert!(fixture.store.failure().is_none());
        assert_eq!(fixture.store.alarms().await?, []);
        assert_eq!(fixture.dump(None).await?, acknowledged);
        assert_eq!(verify()?.keys, acknowledged.len() as u64);
        for line in [
            "etcd_server_is_read_only 0",
            "windlass_store_read_only_total 1",
            "windlass_store_recovered_total 1",
        ] {
            assert!(fixture.store.metrics().lines().any(|found| found == line), "{line}");
        }
        fixture = fixture.reopen(|disk| disk.crash())?;
        assert_eq!(fixture.dump(None).await?, acknowledged, "step {step}");
    }
    Ok(())
}

#[tokio::test]
async fn figures_have_etcds_names() -> Result<(), StoreError> {
    let fixture = Fixture::new(|options| options.quota = 1 << 20);
    fixture.put("a", "1").await;
    fixture.put("b", "1").await;
    fixture.delete("a").await;
    fixture.dump(None).await?;
    let metrics = fixture.store.metrics();
    for line in [
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"} 3",
        "etcd_disk_wal_fsync_duration_seconds_count 3",
        "etcd_server_quota_backend_bytes 1048576",
        "etcd_debugging_mvcc_keys_total 1",
        "etcd_debugging_mvcc_current_revision 4",
        "etcd_mvcc_put_total 2",
        "etcd_mvcc_delete_total 1",
        "etcd_mvcc_range_total 1",
        "etcd_mvcc_txn_total 3",
        "etcd_server_is_read_only 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let size = format!("etcd_mvcc_db_total_size_in_bytes {}", fixture.disk.size());
    assert!(metrics.lines().any(|found| found == size), "{size} is not in\n{metrics}");
    // A histogram counts up.
    let buckets =
        metrics.lines().filter(|line| line.starts_with("etcd_disk_wal_fsync_duration_seconds_bucket"));
    let counts: Vec<u64> = buckets.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(counts.len() == 15 && counts.is_sorted(), "{counts:?}");
    Ok(())
}
