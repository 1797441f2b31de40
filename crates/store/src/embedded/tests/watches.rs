//! Watches: no gap, no duplicate, whole commits, in order, and nobody waits for a slow one.

use super::*;

#[tokio::test]
async fn from_the_past_into_the_present() {
    let fixture = Fixture::new(|_| {});
    fixture.put("p/a", "1").await; // 2
    fixture.put("q/a", "1").await;
    fixture.txn(vec![put("p/a", "2"), put("q/b", "1"), put("p/b", "1")]).await.expect("writes"); // 4
    let mut watch = fixture.watch("p/", Some(2), false).await;
    let mut live = fixture.watch("p/", None, false).await;
    let mut future = fixture.watch("p/", Some(7), false).await;
    assert_eq!(line(&mut watch).await, "2: +p/a=1(-)");
    fixture.delete("p/a").await; // 5
    fixture.put("p/c", "1").await; // 6
    fixture.put("p/d", "1").await; // 7
    assert_eq!(line(&mut watch).await, "4: +p/a=2(1) +p/b=1(-)");
    for watch in [&mut watch, &mut live] {
        assert_eq!(line(watch).await, "5: -p/a(2)");
        assert_eq!(line(watch).await, "6: +p/c=1(-)");
        assert_eq!(line(watch).await, "7: +p/d=1(-)");
    }
    assert_eq!(line(&mut future).await, "7: +p/d=1(-)");
}

#[tokio::test]
async fn a_removal_event_carries_only_key_and_revision() {
    let fixture = Fixture::new(|_| {});
    fixture.put("a", "1").await;
    let mut watch = fixture.watch("a", None, false).await;
    fixture.delete("a").await;
    let commit = next(&mut watch).await.expect("an item").expect("a commit");
    let kv = &commit.events[0].kv;
    assert_eq!((&kv.key[..], &kv.value[..], kv.mod_revision), (&b"a"[..], &b""[..], 3));
    assert_eq!((kv.create_revision, kv.version, kv.lease), (0, 0, 0));
}

#[tokio::test]
async fn history_survives_a_restart() -> Result<(), StoreError> {
    let fixture = Fixture::new(|_| {});
    fixture.put("a", "1").await;
    fixture.put("a", "2").await;
    let fixture = fixture.reopen(|_| {})?;
    let mut watch = fixture.watch("a", Some(2), false).await;
    fixture.put("a", "3").await;
    for expected in ["2: +a=1(-)", "3: +a=2(1)", "4: +a=3(2)"] {
        assert_eq!(line(&mut watch).await, expected);
    }
    Ok(())
}

#[tokio::test]
async fn progress_comes_without_covered_changes_and_never_before_them() {
    let fixture = Fixture::new(|_| {});
    let mut watch = fixture.watch("p/", None, true).await;
    fixture.put("q/a", "1").await;
    assert_eq!(line(&mut watch).await, "2: ");
    let mut last = 2;
    let mut covered = 0;
    for at in 0..200 {
        fixture.put(if at % 3 == 0 { "p/a" } else { "q/a" }, "1").await;
    }
    while last < 202 {
        let commit = next(&mut watch).await.expect("an item").expect("a commit");
        assert!(commit.revision > last, "{} after {last}", commit.revision);
        last = commit.revision;
        covered += commit.events.len();
    }
    assert_eq!(covered, 67);
    // Past and progress: known to be complete although nothing is covered.
    let mut past = fixture.watch("r/", Some(2), true).await;
    assert_eq!(line(&mut past).await, "202: ");
}

#[tokio::test]
async fn a_slow_watcher_catches_up_from_history() {
    let fixture = Fixture::new(|options| options.watch_buffer = 4);
    let mut slow = fixture.watch("a", None, false).await;
    for at in 0..1000 {
        fixture.put("a", &at.to_string()).await;
    }
    for at in 0..1000 {
        let commit = next(&mut slow).await.expect("an item").expect("a commit");
        assert_eq!((commit.revision, text(&commit.events[0].kv.value)), (at + 2, at.to_string().as_str()));
    }
    fixture.put("a", "live").await;
    assert_eq!(line(&mut slow).await, "1002: +a=live(999)");
}

#[tokio::test]
async fn a_watcher_slower_than_history_is_cut_off() {
    let fixture = Fixture::new(|options| {
        options.watch_buffer = 4;
        options.history_revisions = 100;
    });
    let mut slow = fixture.watch("a", None, false).await;
    for at in 0..2000 {
        fixture.put("a", &at.to_string()).await;
    }
    let mut last = 1;
    let end = loop {
        match next(&mut slow).await {
            Some(Ok(commit)) => {
                assert_eq!(commit.revision, last + 1);
                last = commit.revision;
            }
            other => break other,
        }
    };
    assert!(matches!(end, Some(Err(StoreError::Slow))), "{end:?} after {last}");
    assert!(next(&mut slow).await.is_none());
}

#[tokio::test]
async fn watches_end_with_the_store() {
    let fixture = Fixture::new(|_| {});
    let mut watch = fixture.watch("a", None, false).await;
    drop(fixture);
    assert!(matches!(next(&mut watch).await, Some(Err(StoreError::Closed))));
    assert!(next(&mut watch).await.is_none());
}

#[tokio::test]
async fn dropped_watches_are_forgotten() {
    let fixture = Fixture::new(|_| {});
    let watches: Vec<_> = futures::future::join_all((0..10).map(|_| fixture.watch("a", None, true))).await;
    assert_eq!(fixture.store.stats().watchers, 10);
    drop(watches);
    assert_eq!(fixture.store.stats().watchers, 0);
}

/// Many writers, many watchers that start at different times in the past: each sees exactly the commits that it
/// covers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_see_the_same_history() {
    const WRITES: Revision = 3000;
    let fixture = Arc::new(Fixture::new(|options| options.watch_buffer = 16));
    let mut watchers = tokio::task::JoinSet::new();
    let mut writers = tokio::task::JoinSet::new();
    for at in 0..40 {
        let fixture = fixture.clone();
        watchers.spawn(async move {
            let prefix = ["", "p/", "q/", "p/1"][at % 4];
            let mut watch = fixture.watch(prefix, Some(2), true).await;
            let mut seen = Vec::new();
            let mut last = 1;
            while last < WRITES + 1 {
                let commit = next(&mut watch).await.expect("an item").expect("a commit");
                assert!(commit.revision > last);
                last = commit.revision;
                // What was seen can be read.
                assert!(fixture.store.revision().await.expect("reads") >= last);
                for event in commit.events {
                    assert!(event.kv.key.starts_with(prefix.as_bytes()));
                    assert_eq!(event.kv.mod_revision, commit.revision);
                    seen.push((commit.revision, event.kv.key));
                }
            }
            (prefix, seen)
        });
    }
    for writer in 0..10 {
        let fixture = fixture.clone();
        writers.spawn(async move {
            for at in 0..WRITES / 10 {
                fixture.put(&format!("{}/{}", ["p", "q"][writer % 2], at % 20), "x").await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("a writer");
    }
    let all = fixture.store.shared.history.read(2, usize::MAX).expect("history");
    while let Some(done) = watchers.join_next().await {
        let (prefix, seen) = done.expect("a watcher");
        let nodes = all.iter().flat_map(|changes| changes.nodes.iter());
        let nodes = nodes.filter(|node| node.kv.key.starts_with(prefix.as_bytes()));
        let expected: Vec<_> = nodes.map(|node| (node.kv.mod_revision, node.kv.key.clone())).collect();
        assert_eq!(seen, expected, "prefix {prefix:?}");
    }
}
