//! Leases.

use super::*;
use store::rpc::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
};
use tokio_stream::wrappers::ReceiverStream;

#[tokio::test]
async fn a_lease_from_grant_to_revocation() {
    let fixture = Fixture::new().await;
    let granted =
        fixture.lease().lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap().into_inner();
    assert!(granted.id != 0 && granted.ttl == 60);
    fixture.lease().lease_grant(LeaseGrantRequest { ttl: 1, id: 5 }).await.unwrap();
    let again = fixture.lease().lease_grant(LeaseGrantRequest { ttl: 60, id: 5 }).await;
    assert_eq!(refusal(again), "FailedPrecondition: etcdserver: lease already exists");
    let long = fixture.lease().lease_grant(LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await;
    assert_eq!(refusal(long), "OutOfRange: etcdserver: too large lease TTL");

    let id = granted.id;
    fixture.kv().put(PutRequest { lease: id, ..put("k", "v") }).await.unwrap();
    fixture.kv().put(PutRequest { lease: id, ..put("j", "v") }).await.unwrap();
    let request = LeaseTimeToLiveRequest { id, keys: true };
    let left = fixture.lease().lease_time_to_live(request).await.unwrap().into_inner();
    let keys: Vec<_> = left.keys.iter().map(|key| text(key)).collect();
    assert_eq!((left.granted_ttl, keys), (60, vec!["j", "k"]));
    assert!((50..=60).contains(&left.ttl), "{}", left.ttl);
    let all = fixture.lease().lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases.len(), 2);

    fixture.lease().lease_revoke(LeaseRevokeRequest { id }).await.unwrap();
    assert_eq!(fixture.all().await, "", "its keys went with it");
    let gone = fixture.lease().lease_revoke(LeaseRevokeRequest { id }).await;
    assert_eq!(refusal(gone), "NotFound: etcdserver: requested lease not found");
    let left = fixture.lease().lease_time_to_live(request).await.unwrap().into_inner();
    assert_eq!(left.ttl, -1);
}

#[tokio::test]
async fn keep_alive() {
    let fixture = Fixture::new().await;
    fixture.lease().lease_grant(LeaseGrantRequest { ttl: 30, id: 5 }).await.unwrap();
    let (requests, outgoing) = tokio::sync::mpsc::channel(4);
    let answers = fixture.lease().lease_keep_alive(ReceiverStream::new(outgoing)).await;
    let mut answers = answers.unwrap().into_inner();
    for (id, ttl) in [(5, 30), (6, 0), (5, 30)] {
        requests.send(LeaseKeepAliveRequest { id }).await.unwrap();
        let answer = soon(answers.message()).await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (id, ttl), "0 says that there is no such lease");
    }
}
