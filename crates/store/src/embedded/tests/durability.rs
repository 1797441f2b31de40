//! The whole engine on a real directory: locking, restarts, snapshots, damage.

use super::*;
use crate::embedded::{check, check_snapshot, restore};
use std::fs;
use std::path::{Path, PathBuf};

fn open(dir: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(dir, Options { segment_bytes: 4096, ..Options::default() })
}

async fn write(store: &Embedded, from: usize, to: usize) -> Result<Revision, StoreError> {
    let mut revision = 0;
    for at in from..to {
        let ops = vec![put(&format!("k{:03}", at % 100), &format!("{at}:{}", "x".repeat(50)))];
        revision = store.txn(Txn { success: ops, ..Txn::default() }).await?.revision;
    }
    Ok(revision)
}

async fn everything(store: &Embedded) -> Result<Vec<crate::kv::KeyValue>, StoreError> {
    Ok(store.range(Bytes::new(), to_the_end(), RangeOptions::default()).await?.kvs)
}

fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = entries
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn restart_lock_and_check() -> Result<(), StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("new").join("store");
    let store = open(&path)?;
    assert!(matches!(open(&path), Err(StoreError::Locked(_))));
    assert!(matches!(check(&path), Err(StoreError::Locked(_))));
    store.lease_grant(5, 60).await?;
    let revision = write(&store, 0, 500).await?;
    let before = everything(&store).await?;
    drop(store);
    assert!(files(&path, "wal-").len() > 5);
    let report = check(&path)?;
    assert_eq!((report.revision, report.keys, report.leases), (revision, 100, 1));
    let store = open(&path)?;
    assert_eq!(everything(&store).await?, before);
    assert_eq!(store.lease_keep_alive(5).await?, 60);
    Ok(())
}

#[tokio::test]
async fn damage_is_named() -> Result<(), StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path())?;
    write(&store, 0, 500).await?;
    drop(store);
    let victim = files(dir.path(), "wal-").remove(2);
    let intact = fs::read(&victim).expect("reads");
    let mut damaged = intact.clone();
    damaged[2000] ^= 4;
    fs::write(&victim, &damaged).expect("writes");
    let error = open(dir.path()).err();
    let Some(StoreError::Corrupt { file, offset, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(file, &victim.display().to_string());
    assert!((1800..=2000).contains(offset), "{offset}");
    assert!(error.is_some_and(|error| error.to_string().contains("restore its directory from a backup")));
    fs::write(&victim, &intact).expect("writes");
    let hidden = dir.path().join("hidden");
    fs::rename(&victim, &hidden).expect("renames");
    let error = open(dir.path()).err();
    assert!(matches!(&error, Some(StoreError::Corrupt { why, .. }) if why.contains("missing")), "{error:?}");
    fs::rename(&hidden, &victim).expect("renames");
    // A record that was being written is cut; what was acknowledged is there.
    let last = files(dir.path(), "wal-").pop().expect("a segment");
    let mut torn = fs::read(&last).expect("reads");
    torn.extend_from_slice(&intact[..intact.len().min(30)]);
    fs::write(&last, torn).expect("writes");
    assert_eq!(everything(&open(dir.path())?).await?.len(), 100);
    Ok(())
}

#[tokio::test]
async fn snapshots() -> Result<(), StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("a"))?;
    store.lease_grant(5, 60).await?;
    let revision = write(&store, 0, 300).await?;
    let file = dir.path().join("snapshot");
    assert_eq!(store.save_snapshot(&file)?, revision);
    assert!(matches!(store.save_snapshot(&file), Err(StoreError::Io(_))));
    let before = everything(&store).await?;
    write(&store, 300, 400).await?;
    let report = check_snapshot(&file)?;
    assert_eq!((report.revision, report.keys, report.leases), (revision, 100, 1));

    let restored = dir.path().join("b");
    restore(&file, &restored)?;
    assert!(matches!(restore(&file, &restored), Err(StoreError::Io(_))));
    for _ in 0..2 {
        let store = open(&restored)?;
        assert_eq!(everything(&store).await?, before);
        assert_eq!(store.lease_keep_alive(5).await?, 60);
        assert!(matches!(
            store.watch(bytes("k"), None, Some(revision), false).await.err(),
            Some(StoreError::Compacted { .. })
        ));
        assert!(store.watch(bytes("k"), None, Some(revision + 1), false).await.is_ok());
    }
    let store = open(&restored)?;
    assert_eq!(write(&store, 0, 1).await?, revision + 1);

    let intact = fs::read(&file).expect("reads");
    for (at, cut) in [(intact.len() / 2, None), (40, None), (0, Some(intact.len() - 10)), (0, Some(0))] {
        let mut damaged = intact.clone();
        damaged[at] ^= 1;
        damaged.truncate(cut.unwrap_or(damaged.len()));
        fs::write(&file, damaged).expect("writes");
        let error = restore(&file, &dir.path().join("c")).err();
        assert!(matches!(error, Some(StoreError::Corrupt { .. })), "{error:?}");
    }
    assert!(!dir.path().join("c").exists());
    Ok(())
}

#[tokio::test]
async fn checkpoints_replace_the_log_while_running() -> Result<(), StoreError> {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options {
        segment_bytes: 4096,
        checkpoint_bytes: 16_384,
        history_revisions: 50,
        ..Options::default()
    };
    let store = Embedded::open(dir.path(), options.clone())?;
    let mut written = 0;
    while store.stats().checkpoints < 3 {
        write(&store, written, written + 100).await?;
        written += 100;
        assert!(written < 100_000, "{:?}", store.stats());
    }
    assert!(store.stats().log_bytes < 150_000, "{:?}", store.stats());
    let before = everything(&store).await?;
    drop(store);
    assert_eq!(files(dir.path(), "checkpoint-").len(), 1);
    let store = Embedded::open(dir.path(), options)?;
    assert_eq!(everything(&store).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_failing_disk_is_reported_and_reads_go_on() -> Result<(), StoreError> {
    use crate::embedded::disk::memory::Fault;
    let fixture = Fixture::new(|_| {});
    fixture.put("a", "1").await;
    fixture.disk.set_fault(Fault::Io(fixture.disk.operations() + 2)); // the sync of the next write
    let error = fixture.txn(vec![put("a", "2")]).await.expect_err("fails").to_string();
    assert!(error.contains("failed to write the log") && error.contains("read-only"), "{error}");
    assert!(fixture.txn(vec![put("b", "1")]).await.is_err());
    assert!(fixture.store.failure().is_some());
    assert_eq!(fixture.dump(None).await?, ["a=1"]);
    let fixture = fixture.reopen(|disk| disk.crash())?;
    let after = fixture.dump(None).await?;
    assert!(after == ["a=1"] || after == ["a=2"], "{after:?}");
    fixture.put("b", "1").await;
    Ok(())
}

/// Real threads, so not to be replayed exactly: what each writer was told is there after the power went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_and_a_power_loss() -> Result<(), StoreError> {
    use crate::embedded::disk::memory::Fault;
    let mut fixture = Fixture::new(|options| {
        options.segment_bytes = 20_000;
        options.checkpoint_bytes = 50_000;
        options.history_revisions = 200;
    });
    let mut known = [(0, 0); 8];
    for round in 0..5 {
        let fault = Fault::Power(fixture.disk.operations() + 200 + 50 * round);
        fixture.disk.set_fault(fault);
        let shared = Arc::new(fixture);
        let mut writers = tokio::task::JoinSet::new();
        for (writer, (_, start)) in known.into_iter().enumerate() {
            let fixture = shared.clone();
            writers.spawn(async move {
                let (mut told, mut tried) = (start, start);
                loop {
                    tried += 1;
                    if fixture.txn(vec![put(&format!("w{writer}"), &tried.to_string())]).await.is_err() {
                        return (writer, told, tried);
                    }
                    told = tried;
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            let (writer, told, tried) = done.expect("a writer");
            known[writer] = (told, tried);
        }
        let Ok(stopped) = Arc::try_unwrap(shared) else { panic!("someone still has the store") };
        fixture = stopped.reopen(|disk| disk.crash())?;
        for kv in everything(&fixture.store).await? {
            let writer: usize = text(&kv.key[1..]).parse().expect("a number");
            let found: u64 = text(&kv.value).parse().expect("a number");
            let (told, tried) = known[writer];
            assert!((told..=tried).contains(&found), "writer {writer}: {found}, told {told}, tried {tried}");
        }
        assert_eq!(everything(&fixture.store).await?.len(), 8);
    }
    Ok(())
}
