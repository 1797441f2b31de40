//! Transactions, compares, ranges, compaction and leases answer as etcd does.

use super::*;
use crate::kv::{Compare, OpResult};
use std::cmp::Ordering::{Equal, Greater, Less};

async fn three() -> Fixture {
    let fixture = Fixture::new(|_| {});
    for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(fixture.put(key, "1").await, at as Revision + 2);
    }
    fixture
}

#[tokio::test]
async fn an_empty_store_is_at_revision_one() -> Result<(), StoreError> {
    let fixture = Fixture::new(|_| {});
    assert_eq!(fixture.store.revision().await?, 1);
    assert!(fixture.dump(Some(1)).await?.is_empty());
    assert!(matches!(fixture.dump(Some(2)).await, Err(StoreError::Future { current: 1 })));
    Ok(())
}

#[tokio::test]
async fn versions_and_revisions() -> Result<(), StoreError> {
    let fixture = three().await;
    fixture.put("a", "2").await;
    let range = fixture.store.range(bytes("a"), None, RangeOptions::default()).await?;
    let kv = &range.kvs[0];
    assert_eq!((range.revision, range.count, range.more), (5, 1, false));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (2, 5, 2, 0));
    fixture.delete("a").await;
    fixture.put("a", "3").await;
    let kv = fixture.store.range(bytes("a"), None, RangeOptions::default()).await?.kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (7, 7, 1));
    assert_eq!(fixture.dump(Some(4)).await?, ["a=1", "b=1", "c=1"]);
    assert_eq!(fixture.dump(Some(5)).await?, ["a=2", "b=1", "c=1"]);
    assert_eq!(fixture.dump(Some(6)).await?, ["b=1", "c=1"]);
    assert_eq!(fixture.dump(None).await?, ["a=3", "b=1", "c=1"]);
    Ok(())
}

#[tokio::test]
async fn ranges() -> Result<(), StoreError> {
    let fixture = three().await;
    fixture.delete("b").await;
    fixture.put("d", "1").await;
    type Case = (&'static str, Option<&'static str>, RangeOptions, &'static [&'static str], usize, bool);
    let limit = |limit| RangeOptions { limit, ..RangeOptions::default() };
    let cases: [Case; 8] = [
        ("a", None, limit(0), &["a"], 1, false),
        ("b", None, limit(0), &[], 0, false),
        ("a", Some("c"), limit(0), &["a"], 1, false),
        ("a", Some("\0"), limit(0), &["a", "c", "d"], 3, false),
        ("a", Some("z"), limit(2), &["a", "c"], 3, true),
        ("a", Some("z"), limit(3), &["a", "c", "d"], 3, false),
        ("z", Some("a"), limit(0), &[], 0, false),
        ("a", Some("z"), RangeOptions { revision: Some(4), limit: 1, ..limit(0) }, &["a"], 3, true),
    ];
    for (start, end, options, keys, count, more) in cases {
        let range = fixture.store.range(bytes(start), end.map(bytes), options).await?;
        let found: Vec<_> = range.kvs.iter().map(|kv| text(&kv.key)).collect();
        assert_eq!((found.as_slice(), range.count, range.more), (keys, count, more), "{start} {end:?}");
    }
    let options = RangeOptions { count_only: true, ..RangeOptions::default() };
    let counted = fixture.store.range(bytes("a"), to_the_end(), options).await?;
    assert_eq!((counted.count, counted.kvs.len()), (3, 0));
    let options = RangeOptions { keys_only: true, ..RangeOptions::default() };
    assert!(fixture.store.range(bytes("a"), None, options).await?.kvs[0].value.is_empty());
    Ok(())
}

#[tokio::test]
async fn compares() -> Result<(), StoreError> {
    let fixture = three().await;
    fixture.put("a", "2").await; // created 2, modified 5, version 2
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
        let before = fixture.store.revision().await?;
        let result = fixture.store.txn(txn).await?;
        assert_eq!(result.succeeded, holds, "{compare:?}");
        assert_eq!(result.revision, before + Revision::from(holds), "{compare:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_is_one_revision_and_reads_its_own_writes() -> Result<(), StoreError> {
    let fixture = three().await;
    let all = || Op::Range { start: bytes("a"), end: to_the_end(), options: RangeOptions::default() };
    let range_deleted = Op::Delete { start: bytes("a"), end: Some(bytes("c")) };
    let result = fixture.txn(vec![all(), range_deleted, put("c", "2"), put("d", "1"), all()]).await?;
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
    assert_eq!(fixture.delete("nothing").await, 5);
    Ok(())
}

#[tokio::test]
async fn senseless_transactions_change_nothing() -> Result<(), StoreError> {
    let fixture = three().await;
    let long = "x".repeat(17 << 20);
    let cases = [
        (vec![put("a", "2"), put("a", "3")], "duplicate key given in txn request"),
        (vec![put("a", "2"), delete("a")], "duplicate key given in txn request"),
        (vec![put("b", "2"), Op::Delete { start: bytes("a"), end: to_the_end() }], "duplicate key"),
        (vec![put("", "2")], "key is not provided"),
        (vec![put("a", &long)], "request is too large"),
    ];
    for (ops, message) in cases {
        let error = fixture.txn(ops).await.expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
    let read = RangeOptions { revision: Some(99), ..RangeOptions::default() };
    let future = Op::Range { start: bytes("a"), end: None, options: read };
    let error = fixture.txn(vec![put("a", "2"), future]).await;
    assert!(matches!(error, Err(StoreError::Future { current: 4 })));
    assert_eq!(fixture.dump(None).await?, ["a=1", "b=1", "c=1"]);
    Ok(())
}

#[tokio::test]
async fn compaction_keeps_the_state_at_its_revision() -> Result<(), StoreError> {
    let fixture = three().await;
    fixture.put("a", "2").await;
    fixture.delete("b").await; // revision 6
    fixture.put("a", "3").await;
    fixture.store.compact(6).await?;
    for _ in 0..2 {
        assert!(matches!(fixture.dump(Some(5)).await, Err(StoreError::Compacted { oldest: 6 })));
        assert_eq!(fixture.dump(Some(6)).await?, ["a=2", "c=1"]);
        assert_eq!(fixture.dump(Some(7)).await?, ["a=3", "c=1"]);
        // Lets the writer forget.
        fixture.put("a", "3").await;
    }
    assert!(matches!(fixture.store.compact(6).await, Err(StoreError::Compacted { oldest: 6 })));
    assert!(matches!(fixture.store.compact(99).await, Err(StoreError::Future { current: 9 })));
    let early = fixture.store.watch(bytes("a"), None, Some(5), false).await.err();
    assert!(matches!(early, Some(StoreError::Compacted { oldest: 6 })));
    Ok(())
}

#[tokio::test]
async fn history_is_compacted_with_time() -> Result<(), StoreError> {
    let fixture = three().await;
    fixture.advance(Duration::from_secs(60));
    fixture.put("a", "2").await; // sampled at 60 s: revision 5
    fixture.advance(Duration::from_secs(200));
    fixture.put("a", "3").await;
    assert_eq!(fixture.dump(Some(2)).await?, ["a=1"]);
    fixture.advance(Duration::from_secs(101));
    fixture.put("b", "2").await;
    assert!(matches!(fixture.dump(Some(3)).await, Err(StoreError::Compacted { .. })));
    assert_eq!(fixture.dump(Some(6)).await?, ["a=3", "b=1", "c=1"]);
    Ok(())
}

#[tokio::test]
async fn history_is_bounded_by_number_and_size() {
    let fixture = Fixture::new(|options| options.history_revisions = 100);
    for _ in 0..1000 {
        fixture.put("a", "1").await;
    }
    assert!(fixture.store.stats().compacted > 850, "{:?}", fixture.store.stats());
    let fixture = Fixture::new(|options| options.history_bytes = 100_000);
    for _ in 0..500 {
        fixture.put("a", &"x".repeat(1000)).await;
    }
    assert!(fixture.store.stats().history_bytes < 110_000, "{:?}", fixture.store.stats());
}

#[tokio::test]
async fn leases_end_by_revocation_and_by_time() -> Result<(), StoreError> {
    let fixture = three().await;
    assert_eq!(fixture.store.lease_grant(7, 60).await?, 7);
    assert!(matches!(fixture.store.lease_grant(7, 60).await, Err(StoreError::LeaseExists)));
    let other = fixture.store.lease_grant(0, 30).await?;
    let bound = |key: &str, lease| Op::Put { key: bytes(key), value: bytes("l"), lease };
    fixture.txn(vec![bound("a", 7), bound("b", other), bound("x", 7)]).await?;
    assert!(matches!(fixture.txn(vec![bound("a", 99)]).await, Err(StoreError::LeaseNotFound)));
    // A key that is written anew leaves its lease.
    fixture.put("a", "free").await;
    assert_eq!(fixture.dump(None).await?, ["a=free", "b=l", "c=1", "x=l"]);
    let mut watch = fixture.watch("", None, false).await;
    fixture.advance(Duration::from_secs(20));
    assert_eq!(fixture.store.lease_keep_alive(other).await?, 30);
    fixture.advance(Duration::from_secs(20));
    fixture.store.lease_keep_alive(7).await?;
    assert_eq!(fixture.dump(None).await?.len(), 4);
    fixture.advance(Duration::from_secs(15));
    assert_eq!(line(&mut watch).await, "7: -b(l)");
    assert!(matches!(fixture.store.lease_keep_alive(other).await, Err(StoreError::LeaseNotFound)));
    fixture.store.lease_revoke(7).await?;
    assert_eq!(line(&mut watch).await, "8: -x(l)");
    assert!(matches!(fixture.store.lease_revoke(7).await, Err(StoreError::LeaseNotFound)));
    assert_eq!(fixture.dump(None).await?, ["a=free", "c=1"]);
    Ok(())
}

#[tokio::test]
async fn the_quota_refuses_puts_only() -> Result<(), StoreError> {
    let fixture = Fixture::new(|options| options.quota = 20_000);
    let mut full = None;
    for at in 0..100 {
        if let Err(error) = fixture.txn(vec![put(&format!("k{at:02}"), &"x".repeat(100))]).await {
            full = Some(error);
            break;
        }
    }
    assert!(matches!(full, Some(StoreError::NoSpace { quota: 20_000, .. })), "{full:?}");
    assert_eq!(fixture.dump(None).await?.len(), fixture.store.stats().keys as usize);
    fixture.txn(vec![Op::Delete { start: bytes("k"), end: Some(bytes("l")) }]).await?;
    crate::maintenance::Maintenance::disarm(&fixture.store, crate::maintenance::Alarm::NoSpace).await?;
    fixture.put("a", "1").await;
    Ok(())
}
