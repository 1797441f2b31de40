//! Maintenance, the member list, what is refused, and the pages for probes.

use super::*;
use sha2::{Digest, Sha256};
use store::rpc::alarm_request::AlarmAction;
use store::rpc::auth_client::AuthClient;
use store::rpc::cluster_client::ClusterClient;
use store::rpc::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn status_and_hashes() {
    let fixture = Fixture::new().await;
    fixture.put("a", "1").await;
    let status = fixture.maintenance().status(StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((header.revision, status.leader), (2, header.member_id), "it leads itself");
    assert!(status.db_size > 0 && status.db_size_in_use > 0 && status.errors.is_empty());

    let hash = async |revision| {
        let answer = fixture.maintenance().hash_kv(HashKvRequest { revision }).await;
        answer.unwrap().into_inner().hash
    };
    let before = hash(0).await;
    fixture.put("a", "2").await;
    assert_ne!(hash(0).await, before);
    assert_eq!(hash(2).await, before, "the past does not change");
    let future = fixture.maintenance().hash_kv(HashKvRequest { revision: 9 }).await;
    assert_eq!(refusal(future), "OutOfRange: etcdserver: mvcc: required revision is a future revision");
    fixture.maintenance().defragment(DefragmentRequest {}).await.unwrap();
    assert_eq!(fixture.all().await, "a=2");
}

#[tokio::test]
async fn a_snapshot_is_a_database_of_etcd() {
    let fixture = Fixture::new().await;
    for number in 0..500 {
        fixture.put(&format!("k{number:03}"), &"v".repeat(number)).await;
    }
    let last = fixture.delete("k007").await;
    let mut pieces = fixture.maintenance().snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(piece) = soon(pieces.message()).await.unwrap() {
        all.extend_from_slice(&piece.blob);
    }
    let (content, hash) = all.split_at(all.len() - 32);
    assert_eq!(Sha256::digest(content)[..], *hash, "etcd ends a snapshot with its hash");
    assert_eq!(content.len() % 4096, 0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot.db");
    std::fs::write(&file, &all).unwrap();
    let contents = store::bolt::read(&file).unwrap();
    assert_eq!((contents.revision, contents.keys.len()), (last, 499));
    assert_eq!(contents.keys[&b"k100"[..]].value.len(), 100);
}

#[tokio::test]
async fn alarms() {
    let fixture = Fixture::new().await;
    let alarm = async |action: AlarmAction, alarm: AlarmType| {
        let request = AlarmRequest { action: action.into(), alarm: alarm.into(), member_id: 0 };
        let answer = fixture.maintenance().alarm(request).await.unwrap().into_inner();
        answer.alarms.iter().map(|member| member.alarm().as_str_name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(alarm(AlarmAction::Get, AlarmType::None).await, "");
    assert_eq!(alarm(AlarmAction::Activate, AlarmType::Nospace).await, "NOSPACE");
    assert_eq!(alarm(AlarmAction::Get, AlarmType::None).await, "NOSPACE");
    let refused = fixture.kv().put(put("a", "1")).await;
    assert_eq!(refusal(refused), "ResourceExhausted: etcdserver: mvcc: database space exceeded");
    assert!(get(&fixture, "/health").await.contains(r#"{"health":"false"}"#));
    assert_eq!(alarm(AlarmAction::Deactivate, AlarmType::None).await, "NOSPACE");
    assert_eq!(alarm(AlarmAction::Get, AlarmType::None).await, "");
    fixture.put("a", "1").await;
}

#[tokio::test]
async fn one_member_without_users() {
    let fixture = Fixture::with(|config| config.client_urls = vec!["http://127.0.0.1:2379".to_owned()]).await;
    let mut cluster = ClusterClient::new(fixture.channel.clone());
    let members = cluster.member_list(MemberListRequest::default()).await.unwrap().into_inner().members;
    assert_eq!((members.len(), members[0].name.as_str()), (1, "one"));
    assert_eq!(members[0].client_urls, ["http://127.0.0.1:2379"]);
    let refused = refusal(cluster.member_add(MemberAddRequest::default()).await);
    assert!(
        refused.starts_with("Unimplemented: etcdserver: ") && refused.contains("etcd cluster"),
        "{refused}"
    );

    let mut auth = AuthClient::new(fixture.channel.clone());
    let refused = refusal(auth.auth_enable(AuthEnableRequest {}).await);
    assert!(refused.contains("not supported") && refused.contains("--client-cert-auth"), "{refused}");
    let refused = refusal(auth.authenticate(AuthenticateRequest::default()).await);
    assert_eq!(refused, "FailedPrecondition: etcdserver: authentication is not enabled");
    let refused = fixture.maintenance().move_leader(MoveLeaderRequest { target_id: 1 }).await;
    assert_eq!(refusal(refused), "FailedPrecondition: etcdserver: bad leader transferee");
}

/// GETs a page over HTTP/1.1.
async fn get(fixture: &Fixture, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(fixture.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn pages_for_probes() {
    let fixture = Fixture::new().await;
    let health = get(&fixture, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with(r#"{"health":"true"}"#), "{health}");
    assert!(get(&fixture, "/version").await.contains(r#""etcdserver":"3."#));
    assert!(get(&fixture, "/metrics").await.contains("\netcd_"), "figures under etcd's names");
    assert!(get(&fixture, "/v2/keys").await.starts_with("HTTP/1.1 404"));
}
