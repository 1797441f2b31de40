//! What every backend of [`store::Store`] must do, as checks that take an empty store.

use crate::support::{Words, bytes, covering, delete, delete_range, in_time, put, text};
use bytes::Bytes;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::time::Duration;
use store::{Compare, Op, OpResult, RangeOptions, Revision, StoreError, Txn};

async fn three(store: &Words) {
    for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(store.put(key, "1").await, at as Revision + 2);
    }
}

pub(crate) async fn an_empty_store_is_at_revision_one(store: Words) {
    assert_eq!(store.0.revision().await.unwrap(), 1);
    assert!(store.dump("", None).await.unwrap().is_empty());
    let future = store.dump("", Some(2)).await;
    assert!(matches!(future, Err(StoreError::Future { current: 1 })), "{future:?}");
}

pub(crate) async fn versions_and_revisions(store: Words) {
    three(&store).await;
    store.put("a", "2").await;
    let kv = store.get("a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (2, 5, 2, 0));
    store.delete("a").await;
    store.put("a", "3").await;
    let kv = store.get("a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (7, 7, 1));
    for (at, expected) in
        [(4, "a=1 b=1 c=1"), (5, "a=2 b=1 c=1"), (6, "b=1 c=1"), (7, "a=3 b=1 c=1"), (1, "")]
    {
        assert_eq!(store.dump("", Some(at)).await.unwrap().join(" "), expected, "at {at}");
    }
    assert_eq!(store.0.revision().await.unwrap(), 7);
}

pub(crate) async fn ranges(store: Words) {
    three(&store).await;
    store.delete("b").await;
    store.put("d", "1").await;
    type Case = (&'static str, Option<&'static str>, RangeOptions, &'static [&'static str], usize, bool);
    let limit = |limit| RangeOptions { limit, ..RangeOptions::default() };
    let cases: [Case; 10] = [
        ("a", None, limit(0), &["a"], 1, false),
        ("b", None, limit(0), &[], 0, false),
        ("", None, limit(0), &[], 0, false),
        ("a", Some("c"), limit(0), &["a"], 1, false),
        ("", Some("\0"), limit(0), &["a", "c", "d"], 3, false),
        ("b", Some("\0"), limit(0), &["c", "d"], 2, false),
        ("a", Some("z"), limit(2), &["a", "c"], 3, true),
        ("a", Some("z"), limit(3), &["a", "c", "d"], 3, false),
        ("z", Some("a"), limit(0), &[], 0, false),
        ("a", Some("z"), RangeOptions { revision: Some(4), limit: 1, ..limit(0) }, &["a"], 3, true),
    ];
    for (start, end, options, keys, count, more) in cases {
        let range = store.0.range(bytes(start), end.map(bytes), options).await.unwrap();
        let found: Vec<_> = range.kvs.iter().map(|kv| text(&kv.key)).collect();
        assert_eq!(
            (found.as_slice(), range.count, range.more),
            (&*own(keys), count, more),
            "{start} {end:?}"
        );
        assert_eq!(range.revision, 6);
    }
    let (start, end) = covering("");
    let options = RangeOptions { count_only: true, ..RangeOptions::default() };
    let counted = store.0.range(start.clone(), end.clone(), options).await.unwrap();
    assert_eq!((counted.count, counted.kvs.len()), (3, 0));
    let options = RangeOptions { keys_only: true, ..RangeOptions::default() };
    let keys = store.0.range(start, end, options).await.unwrap();
    assert!(keys.kvs.len() == 3 && keys.kvs.iter().all(|kv| kv.value.is_empty()));
}

fn own(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

pub(crate) async fn compares(store: Words) {
    three(&store).await;
    store.put("a", "2").await; // created 2, modified 5, version 2
    let (a, none) = (bytes("a"), bytes("none"));
    let cases = [
        (Compare::ModRevision(a.clone(), Equal, 5), true),
        (Compare::ModRevision(a.clone(), Greater, 5), false),
        (Compare::ModRevision(a.clone(), Less, 6), true),
        (Compare::ModRevision(none.clone(), Equal, 0), true),
        (Compare::CreateRevision(a.clone(), Equal, 2), true),
        (Compare::CreateRevision(none.clone(), Greater, 0), false),
        (Compare::Version(a.clone(), Equal, 2), true),
        (Compare::Version(none.clone(), Equal, 0), true),
        (Compare::Value(a.clone(), Equal, bytes("2")), true),
        (Compare::Value(a.clone(), Greater, bytes("1")), true),
        (Compare::Value(none.clone(), Less, bytes("1")), false),
        (Compare::Value(none.clone(), Equal, Bytes::new()), false),
        (Compare::Lease(a.clone(), Equal, 0), true),
    ];
    for (compare, holds) in cases {
        let txn = Txn { compares: vec![compare.clone()], success: vec![put("s", "1")], failure: Vec::new() };
        let before = store.0.revision().await.unwrap();
        let result = store.0.txn(txn).await.unwrap();
        assert_eq!(result.succeeded, holds, "{compare:?}");
        assert_eq!(result.revision, before + Revision::from(holds), "{compare:?}");
    }
}

pub(crate) async fn a_transaction_is_one_revision_and_reads_its_own_writes(store: Words) {
    three(&store).await;
    let all = || Op::Range { start: bytes("a"), end: covering("").1, options: RangeOptions::default() };
    let ops = vec![all(), delete_range("a", "c"), put("c", "2"), put("d", "1"), all()];
    let result = store.txn(ops).await.unwrap();
    assert_eq!(result.revision, 5);
    let [OpResult::Range(before), OpResult::Delete(gone), OpResult::Put(Some(c)), OpResult::Put(None), last] =
        &result.results[..]
    else {
        panic!("{result:?}")
    };
    let OpResult::Range(after) = last else { panic!("{last:?}") };
    assert_eq!((before.kvs.len(), gone.len(), &c.value[..], after.kvs.len()), (3, 2, &b"1"[..], 2));
    assert!(after.kvs.iter().all(|kv| kv.mod_revision == 5));
    // Nothing to remove: nothing happens.
    assert_eq!(store.delete("nothing").await, 5);
    // A failed condition does the other thing.
    let txn = Txn {
        compares: vec![Compare::ModRevision(bytes("c"), Equal, 4)],
        success: vec![put("c", "3")],
        failure: vec![Op::Range { start: bytes("c"), end: None, options: RangeOptions::default() }],
    };
    let result = store.0.txn(txn).await.unwrap();
    let [OpResult::Range(found)] = &result.results[..] else { panic!("{result:?}") };
    assert_eq!((result.succeeded, found.kvs[0].mod_revision, result.revision), (false, 5, 5));
}

pub(crate) async fn senseless_transactions_change_nothing(store: Words) {
    three(&store).await;
    let long = "x".repeat(17 << 20);
    let cases = [
        (vec![put("a", "2"), put("a", "3")], "duplicate key given in txn request"),
        (vec![put("a", "2"), delete("a")], "duplicate key given in txn request"),
        (vec![put("b", "2"), Op::Delete { start: bytes("a"), end: covering("").1 }], "duplicate key"),
        (vec![put("", "2")], "key is not provided"),
        (vec![put("a", &long)], "request is too large"),
    ];
    for (ops, message) in cases {
        let error = store.txn(ops).await.expect_err(message);
        assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let lease = vec![Op::Put { key: bytes("a"), value: bytes("2"), lease: 77 }];
    assert!(matches!(store.txn(lease).await, Err(StoreError::LeaseNotFound)));
    let read = RangeOptions { revision: Some(99), ..RangeOptions::default() };
    let future = Op::Range { start: bytes("a"), end: None, options: read };
    let error = store.txn(vec![put("a", "2"), future]).await;
    assert!(matches!(error, Err(StoreError::Future { current: 4 })), "{error:?}");
    assert_eq!(store.dump("", None).await.unwrap(), ["a=1", "b=1", "c=1"]);
}

pub(crate) async fn compaction(store: Words) {
    three(&store).await;
    store.put("a", "2").await;
    store.delete("b").await; // revision 6
    store.put("a", "3").await;
    store.0.compact(6).await.unwrap();
    let old = store.dump("", Some(5)).await;
    assert!(matches!(old, Err(StoreError::Compacted { oldest: 6 })), "{old:?}");
    assert_eq!(store.dump("", Some(6)).await.unwrap(), ["a=2", "c=1"]);
    assert_eq!(store.dump("", None).await.unwrap(), ["a=3", "c=1"]);
    let again = store.0.compact(6).await;
    assert!(matches!(again, Err(StoreError::Compacted { oldest: 6 })), "{again:?}");
    let future = store.0.compact(8).await;
    assert!(matches!(future, Err(StoreError::Future { current: 7 })), "{future:?}");
    let (start, end) = covering("");
    let refused = match store.0.watch(start, end, Some(3), false).await {
        Err(error) => error,
        Ok(stream) => crate::support::Watching(stream).item().await.unwrap().unwrap_err(),
    };
    assert!(matches!(refused, StoreError::Compacted { .. }), "{refused:?}");
    let mut watch = store.watch("", Some(7), false).await;
    assert_eq!(watch.line().await, "7: +a=3(2)");
}

pub(crate) async fn leases(store: Words) {
    three(&store).await;
    assert_eq!(store.0.lease_grant(7, 60).await.unwrap(), 7);
    assert!(matches!(store.0.lease_grant(7, 60).await, Err(StoreError::LeaseExists)));
    let other = store.0.lease_grant(0, 60).await.unwrap();
    assert!(other > 0 && other != 7);
    let leased = |key: &str, lease| Op::Put { key: bytes(key), value: bytes("l"), lease };
    store.txn(vec![leased("x", 7), leased("y", 7), leased("z", other)]).await.unwrap(); // 5
    assert_eq!(store.get("x").await.unwrap().lease, 7);
    assert_eq!(store.0.lease_keep_alive(7).await.unwrap(), 60);
    store.put("y", "free").await; // 6: no longer bound to it
    let mut watch = store.watch("", None, false).await;
    store.0.lease_revoke(7).await.unwrap();
    assert_eq!(watch.line().await, "7: -x(l)");
    assert!(matches!(store.0.lease_revoke(7).await, Err(StoreError::LeaseNotFound)));
    assert!(matches!(store.0.lease_keep_alive(7).await, Err(StoreError::LeaseNotFound)));
    // One that nobody keeps alive ends by itself.
    let short = store.0.lease_grant(0, 1).await.unwrap();
    store.txn(vec![leased("short", short)]).await.unwrap();
    assert_eq!(watch.line().await, "8: +short=l(-)");
    assert_eq!(watch.line().await, "9: -short(l)");
    assert_eq!(store.dump("", None).await.unwrap(), ["a=1", "b=1", "c=1", "y=free", "z=l"]);
}

pub(crate) async fn a_watch_goes_from_the_past_into_the_present(store: Words) {
    store.put("p/a", "1").await; // 2
    store.put("q/a", "1").await;
    store.txn(vec![put("p/a", "2"), put("q/b", "1"), put("p/b", "1")]).await.unwrap(); // 4
    let mut watch = store.watch("p/", Some(2), false).await;
    let mut live = store.watch("p/", None, false).await;
    let mut future = store.watch("p/", Some(7), false).await;
    let one = store.0.watch(bytes("p/a"), None, Some(2), false).await.unwrap();
    let mut one = crate::support::Watching(one);
    assert_eq!(watch.line().await, "2: +p/a=1(-)");
    store.delete("p/a").await; // 5
    store.put("p/c", "1").await; // 6
    store.put("p/d", "1").await; // 7
    assert_eq!(watch.line().await, "4: +p/a=2(1) +p/b=1(-)");
    for watch in [&mut watch, &mut live] {
        assert_eq!(watch.line().await, "5: -p/a(2)");
        assert_eq!(watch.line().await, "6: +p/c=1(-)");
        assert_eq!(watch.line().await, "7: +p/d=1(-)");
    }
    assert_eq!(future.line().await, "7: +p/d=1(-)");
    for expected in ["2: +p/a=1(-)", "4: +p/a=2(1)", "5: -p/a(2)"] {
        assert_eq!(one.line().await, expected);
    }
}

pub(crate) async fn a_removal_event_carries_only_key_and_revision(store: Words) {
    store.put("a", "1").await;
    let mut watch = store.watch("a", None, false).await;
    store.delete("a").await;
    let commit = watch.commit().await;
    let kv = &commit.events[0].kv;
    assert_eq!((&kv.key[..], &kv.value[..], kv.mod_revision), (&b"a"[..], &b""[..], 3));
    assert_eq!((kv.create_revision, kv.version, kv.lease), (0, 0, 0));
}

pub(crate) async fn progress_comes_without_covered_changes_and_never_before_them(store: Words) {
    let mut watch = store.watch("p/", None, true).await;
    store.put("q/a", "1").await;
    assert_eq!(store.0.revision().await.unwrap(), 2);
    assert_eq!(watch.line().await, "2: ");
    let mut last = 2;
    let mut covered = 0;
    for at in 0..200 {
        store.put(if at % 3 == 0 { "p/a" } else { "q/a" }, "1").await;
    }
    assert_eq!(store.0.revision().await.unwrap(), 202);
    while last < 202 {
        let commit = watch.commit().await;
        assert!(commit.revision > last, "{} after {last}", commit.revision);
        last = commit.revision;
        covered += commit.events.len();
    }
    assert_eq!(covered, 67);
    // Past and progress: known to be complete although nothing is covered.
    let mut past = store.watch("r/", Some(2), true).await;
    in_time(async { while past.commit().await.revision < 202 {} }).await;
}

/// More in one commit than fits into one message of etcd.
pub(crate) async fn large_commits_stay_whole(store: Words) {
    let value = "x".repeat(1 << 20);
    for at in 0..24 {
        store.put(&format!("k{at:02}"), &value).await;
    }
    let mut watch = store.watch("k", Some(2), true).await;
    for at in 0..24 {
        let commit = watch.commit().await;
        assert_eq!((commit.revision, commit.events.len()), (at + 2, 1));
        assert_eq!(commit.events[0].kv.value.len(), value.len());
    }
    let result = store.txn(vec![delete_range("k", "l")]).await.unwrap();
    let [OpResult::Delete(gone)] = &result.results[..] else { panic!("one answer") };
    assert_eq!(gone.len(), 24);
    let commit = watch.commit().await;
    assert_eq!((commit.revision, commit.events.len()), (26, 24));
    for (at, event) in commit.events.iter().enumerate() {
        assert_eq!(text(&event.kv.key), format!("k{at:02}"));
        assert_eq!(event.previous.as_ref().map(|kv| kv.value.len()), Some(value.len()));
    }
}

/// Writers that compare and swap lose no increment.
pub(crate) async fn concurrent_increments_all_count(store: Words) {
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            let mut done = 0;
            while done < 15 {
                let found = store.get("n").await;
                let (revision, number) =
                    found.map_or((0, 0), |kv| (kv.mod_revision, text(&kv.value).parse::<u32>().unwrap()));
                let txn = Txn {
                    compares: vec![Compare::ModRevision(bytes("n"), Equal, revision)],
                    success: vec![put("n", &(number + 1).to_string())],
                    failure: Vec::new(),
                };
                done += u32::from(store.0.txn(txn).await.unwrap().succeeded);
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(text(&store.get("n").await.unwrap().value), "120");
}

/// A list is of one revision, however long it is and whatever happens meanwhile.
pub(crate) async fn lists_are_of_one_revision(store: Words) {
    for at in 0..100 {
        store.put(&format!("k/{at:03}"), "0").await;
    }
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        // All keys always have the same value.
        for round in 1..=20 {
            let ops = (0..100).map(|at| put(&format!("k/{at:03}"), &round.to_string())).collect();
            writer.txn(ops).await.unwrap();
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let lines = store.dump("k/", None).await.unwrap();
        let values: std::collections::BTreeSet<_> = lines.iter().map(|line| &line[6..]).collect();
        assert_eq!((lines.len(), values.len()), (100, 1), "{values:?}");
        seen += 1;
    }
    writing.await.unwrap();
    assert!(seen > 0);
}

pub(crate) async fn revisions_are_never_older_than_what_was_acknowledged(store: Words) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            for at in 0..25 {
                let written = store.put(&format!("w{writer}"), &at.to_string()).await;
                let known = store.0.revision().await.unwrap();
                assert!(known >= written, "{known} after {written}");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.0.revision().await.unwrap(), 201);
}

pub(crate) async fn compaction_takes_turns(store: Words) {
    use store::etcd::compactor::Turn;
    store.put("a", "1").await;
    let (one, two) = (Turn::default(), Turn::default());
    let (one, done) = one.take(store.0.as_ref()).await.unwrap();
    assert!(!done, "a server that has just begun does not know what is old");
    let (two, done) = two.take(store.0.as_ref()).await.unwrap();
    assert!(!done, "the other one was first");
    store.put("a", "2").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (one, done) = one.take(store.0.as_ref()).await.unwrap();
    assert!(done);
    let (_two, done) = two.take(store.0.as_ref()).await.unwrap();
    assert!(!done);
    let old = store.dump("a", Some(2)).await;
    assert!(matches!(old, Err(StoreError::Compacted { .. })), "{old:?}");
    assert_eq!(store.dump("a", None).await.unwrap(), ["a=2"]);
    let (_one, done) = one.take(store.0.as_ref()).await.unwrap();
    assert!(done);
}
