//! What the contract of all backends (`tests/contract`) cannot see: what compaction frees and when, time, bounds, the quota.

use super::*;

async fn three() -> Fixture {
    let fixture = Fixture::new(|_| {});
    for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(fixture.put(key, "1").await, at as Revision + 2);
    }
    fixture
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
