//! Ranges, puts, deletions, compaction.

use super::*;
use store::rpc::CompactionRequest;
use store::rpc::range_request::{SortOrder, SortTarget};

#[tokio::test]
async fn ranges() {
    let fixture = Fixture::new().await;
    for (key, value) in [("a", "3"), ("b", "1"), ("b1", "2"), ("c", "0")] {
        fixture.put(key, value).await;
    }
    assert_eq!(fixture.put("b", "9").await, 6, "the first write of an empty store has revision 2");
    let one = RangeRequest { key: bytes("b"), ..Default::default() };
    let found = fixture.range(one.clone()).await.unwrap();
    assert_eq!((lines(&found).as_str(), found.count, found.more), ("b=9", 1, false));
    let kv = &found.kvs[0];
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (3, 6, 2, 0));

    let prefix = RangeRequest { key: bytes("b"), range_end: bytes("c"), ..Default::default() };
    assert_eq!(lines(&fixture.range(prefix.clone()).await.unwrap()), "b=9 b1=2");
    let past = RangeRequest { revision: 4, ..prefix.clone() };
    assert_eq!(lines(&fixture.range(past).await.unwrap()), "b=1 b1=2");
    let empty = RangeRequest { key: bytes("x"), range_end: bytes("b"), ..Default::default() };
    assert_eq!(lines(&fixture.range(empty).await.unwrap()), "");

    let limited = fixture.range(RangeRequest { limit: 3, ..from("a") }).await.unwrap();
    assert_eq!((lines(&limited).as_str(), limited.more, limited.count), ("a=3 b=9 b1=2", true, 4));
    let count = fixture.range(RangeRequest { count_only: true, ..from("a") }).await.unwrap();
    assert_eq!((count.kvs.len(), count.count), (0, 4));
    let keys = fixture.range(RangeRequest { keys_only: true, ..from("a") }).await.unwrap();
    assert_eq!(lines(&keys), "a= b= b1= c=");
    let sorted = RangeRequest {
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Value.into(),
        limit: 2,
        serializable: true,
        ..from("a")
    };
    let sorted = fixture.range(sorted).await.unwrap();
    assert_eq!((lines(&sorted).as_str(), sorted.more), ("b=9 a=3", true));
    let lately = RangeRequest { min_mod_revision: 5, ..from("a") };
    assert_eq!(lines(&fixture.range(lately).await.unwrap()), "b=9 c=0");
}

#[tokio::test]
async fn refusals_are_etcds() {
    let fixture = Fixture::new().await;
    fixture.put("a", "1").await;
    fixture.put("a", "2").await;
    let empty = fixture.range(RangeRequest::default()).await;
    assert_eq!(refusal(empty), "InvalidArgument: etcdserver: key is not provided");
    let empty = fixture.kv().put(put("", "v")).await;
    assert_eq!(refusal(empty), "InvalidArgument: etcdserver: key is not provided");
    let empty = fixture.kv().delete_range(DeleteRangeRequest::default()).await;
    assert_eq!(refusal(empty), "InvalidArgument: etcdserver: key is not provided");
    let future = fixture.range(RangeRequest { revision: 9, ..from("a") }).await;
    assert_eq!(refusal(future), "OutOfRange: etcdserver: mvcc: required revision is a future revision");
    let lease = fixture.kv().put(PutRequest { lease: 77, ..put("a", "3") }).await;
    assert_eq!(refusal(lease), "NotFound: etcdserver: requested lease not found");

    let compact = |revision| CompactionRequest { revision, physical: true };
    fixture.kv().compact(compact(3)).await.unwrap();
    let past = fixture.range(RangeRequest { revision: 2, ..from("a") }).await;
    let compacted = "OutOfRange: etcdserver: mvcc: required revision has been compacted";
    assert_eq!(refusal(past), compacted);
    assert_eq!(refusal(fixture.kv().compact(compact(3)).await), compacted);
    assert_eq!(
        refusal(fixture.kv().compact(compact(99)).await),
        "OutOfRange: etcdserver: mvcc: required revision is a future revision"
    );
}

#[tokio::test]
async fn puts_that_keep_something() {
    let fixture = Fixture::new().await;
    let grant = store::rpc::LeaseGrantRequest { ttl: 100, id: 7 };
    fixture.lease().lease_grant(grant).await.unwrap();
    let missing = fixture.kv().put(PutRequest { ignore_value: true, ..put("k", "") }).await;
    assert_eq!(refusal(missing), "InvalidArgument: etcdserver: key not found");
    fixture.put("k", "v").await;
    let both = fixture.kv().put(PutRequest { ignore_value: true, ..put("k", "x") }).await;
    assert_eq!(refusal(both), "InvalidArgument: etcdserver: value is provided");
    fixture.kv().put(PutRequest { ignore_value: true, lease: 7, ..put("k", "") }).await.unwrap();
    let kv = fixture.range(from("k")).await.unwrap().kvs.remove(0);
    assert_eq!((text(&kv.value), kv.lease, kv.version), ("v", 7, 2));
    let request = PutRequest { ignore_lease: true, prev_kv: true, ..put("k", "w") };
    let answer = fixture.kv().put(request).await.unwrap().into_inner();
    assert_eq!(text(&answer.prev_kv.unwrap().value), "v");
    let kv = fixture.range(from("k")).await.unwrap().kvs.remove(0);
    assert_eq!((text(&kv.value), kv.lease, kv.version), ("w", 7, 3));
}

#[tokio::test]
async fn deletions() {
    let fixture = Fixture::new().await;
    for key in ["a", "b", "c"] {
        fixture.put(key, "v").await;
    }
    let request = DeleteRangeRequest { key: bytes("a"), range_end: bytes("c"), prev_kv: true };
    let answer = fixture.kv().delete_range(request.clone()).await.unwrap().into_inner();
    let previous: Vec<_> = answer.prev_kvs.iter().map(|kv| text(&kv.key)).collect();
    assert_eq!((answer.deleted, previous), (2, vec!["a", "b"]));
    assert_eq!(answer.header.unwrap().revision, 5);
    let again = fixture.kv().delete_range(request).await.unwrap().into_inner();
    assert_eq!((again.deleted, again.header.unwrap().revision), (0, 5), "nothing was there: no revision");
}
