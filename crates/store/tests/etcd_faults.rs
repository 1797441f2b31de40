//! The etcd backend when things go wrong: members that die, hang or lose their memory, answers that get lost,
//! limits, certificates.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::cmp::Ordering::Equal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use store::etcd::{Etcd, Options};
use store::{Compare, Op, OpResult, RangeOptions, Revision, Store, StoreError, Txn};
use support::proxy::Proxy;
use support::{Cluster, PATIENCE, Words, bytes, delete, has_etcd, in_time, put, text};

/// A change of one key if its last change is the expected one.
fn conditional(key: &str, expected: Revision, op: Op) -> Txn {
    Txn {
        compares: vec![Compare::ModRevision(bytes(key), Equal, expected)],
        success: vec![op],
        failure: vec![Op::Range { start: bytes(key), end: None, options: RangeOptions::default() }],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_read_as_what_they_are() {
    if !has_etcd("limits_read_as_what_they_are") {
        return;
    }
    let cluster = Cluster::with(1, "http", &["--quota-backend-bytes", "20971520"]);
    let store = Words(Arc::new(cluster.connect().await));
    let many = (0..129).map(|at| put(&format!("k{at}"), "1")).collect();
    let error = store.txn(many).await.unwrap_err().to_string();
    assert!(error.contains("too many operations") && error.contains("128"), "{error}");
    store.txn((0..128).map(|at| put(&format!("k{at}"), "1")).collect()).await.unwrap();
    let error = store.txn(vec![put("large", &"x".repeat(1600 << 10))]).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains("1.5 MiB"), "{error}");
    let full = loop {
        match store.txn(vec![put("filler", &"x".repeat(1 << 20))]).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::NoSpace { used, .. } if used > 15 << 20), "{full:?}");
    // Reading and removing still work.
    assert_eq!(store.get("k7").await.unwrap().version, 1);
    store.delete("filler").await;
}

#[tokio::test]
async fn endpoints_that_do_not_answer_are_named() {
    let port = support::free_port();
    let options = Options::new([format!("http://127.0.0.1:{port}")]);
    let error = Etcd::connect(options, Duration::from_millis(500)).await.unwrap_err();
    let StoreError::Unavailable(why) = error else { panic!("{error:?}") };
    assert!(why.contains(&port.to_string()) && why.contains("refused"), "{why}");
    let none = Etcd::connect(Options::new(Vec::<String>::new()), PATIENCE).await.unwrap_err();
    assert!(none.to_string().contains("--etcd-servers"), "{none}");
}

struct Pki {
    ca: String,
    server: (String, String),
    client: (String, String),
}

fn pki() -> Pki {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let issue = |usage: Vec<ExtendedKeyUsagePurpose>| {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages = usage;
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    // etcd's own gateway is a client of the server's certificate.
    let server = issue(vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]);
    Pki { ca, server, client: issue(vec![ExtendedKeyUsagePurpose::ClientAuth]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_client_certificates() {
    if !has_etcd("tls_with_client_certificates") {
        return;
    }
    let pki = pki();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (ca, certificate, key) =
        (file("ca", &pki.ca), file("crt", &pki.server.0), file("key", &pki.server.1));
    let flags =
        ["--cert-file", &certificate, "--key-file", &key, "--trusted-ca-file", &ca, "--client-cert-auth"];
    let cluster = Cluster::with(1, "https", &flags);
    let tls = |pair: Option<(String, String)>| -> store::etcd::Tls {
        let ca = pki.ca.clone();
        Arc::new(move || {
            let pair = pair.as_ref().map(|(certificate, key)| component::tls::KeyPair {
                certificate: certificate.clone().into_bytes(),
                key: key.clone().into_bytes(),
            });
            let config = component::tls::client(ca.as_bytes(), pair.as_ref(), &["h2"]);
            config.map(Arc::new).map_err(|error| error.to_string())
        })
    };
    let known = tls(Some(pki.client.clone()));
    let store = Words(Arc::new(cluster.connect_with(|options| options.tls = Some(known)).await));
    let mut watch = store.watch("a", None, true).await;
    store.put("a", "1").await;
    assert_eq!(watch.line().await, "2: +a=1(-)");

    let mut options = Options::new(cluster.urls());
    options.tls = Some(tls(None));
    let error = Etcd::connect(options, Duration::from_secs(2)).await.unwrap_err();
    assert!(error.to_string().contains(&cluster.urls()[0]), "{error}");
    let without = Etcd::connect(Options::new(cluster.urls()), PATIENCE).await.unwrap_err();
    assert!(without.to_string().contains("--etcd-cafile"), "{without}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_out_or_said_to_be_unknown() {
    if !has_etcd("a_lost_answer_is_found_out_or_said_to_be_unknown") {
        return;
    }
    let cluster = Cluster::alone();
    let direct = Words(Arc::new(cluster.connect().await));
    let proxy = Proxy::before(cluster.members[0].client).await;
    // A second way to the same member, for what is to be found out.
    let spare = Proxy::before(cluster.members[0].client).await;
    spare.cut();
    let mut options = Options::new([proxy.url(), spare.url()]);
    options.request_timeout = Duration::from_secs(5);
    let store = Arc::new(Etcd::connect(options, PATIENCE).await.unwrap());

    // What is sent arrives and its answer is lost; then the member is lost, and the other one is found.
    let lose = |txn: Txn, arrives: &'static str| {
        let (store, direct, proxy, spare) = (store.clone(), direct.clone(), &proxy, &spare);
        async move {
            let mut arrived = direct.watch(arrives, None, false).await;
            proxy.mute();
            let asked = tokio::spawn({
                let store = store.clone();
                async move { store.txn(txn).await }
            });
            arrived.commit().await;
            spare.open();
            proxy.cut();
            let answer = in_time(asked).await.unwrap();
            // As before, for the next one.
            proxy.open();
            in_time(async { while store.revision().await.is_err() {} }).await;
            spare.cut();
            in_time(async { while store.revision().await.is_err() {} }).await;
            answer
        }
    };

    // A creation is recognized by its bytes.
    let created = lose(conditional("a", 0, put("a", "uid-1")), "a").await.unwrap();
    assert!(created.succeeded);
    let found = direct.get("a").await.unwrap();
    assert_eq!((created.revision, found.version), (found.mod_revision, 1));
    // So is an update, and its previous state is told.
    let updated = lose(conditional("a", created.revision, put("a", "two")), "a").await.unwrap();
    let [OpResult::Put(Some(before))] = &updated.results[..] else { panic!("{updated:?}") };
    assert!(updated.succeeded && text(&before.value) == "uid-1");
    assert_eq!(direct.get("a").await.unwrap().version, 2, "it was written once");
    // One removal looks like another.
    let removed = lose(conditional("a", updated.revision, delete("a")), "a").await;
    assert!(matches!(removed, Err(StoreError::Unknown(_))), "{removed:?}");
    // What has no condition cannot be told from what others do.
    let blind = Txn { success: vec![put("b", "1")], ..Txn::default() };
    let blind = lose(blind, "b").await;
    assert!(matches!(blind, Err(StoreError::Unknown(_))), "{blind:?}");
    assert_eq!(direct.get("b").await.unwrap().version, 1, "it was not repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_is_safe_to_send_again() {
    if !has_etcd("what_was_not_sent_is_safe_to_send_again") {
        return;
    }
    let mut cluster = Cluster::alone();
    let store = Words(Arc::new(cluster.connect().await));
    store.put("a", "1").await;
    cluster.members[0].kill();
    // Until the loss is noticed the outcome may be unknown; after that, nothing is sent.
    in_time(async { while store.0.revision().await.is_ok() {} }).await;
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.txn(vec![put("a", "2")]).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.members[0].restart();
    assert!(in_time(writing).await.unwrap().is_ok());
    assert_eq!(store.get("a").await.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_its_memory_is_noticed() {
    if !has_etcd("a_cluster_that_lost_its_memory_is_noticed") {
        return;
    }
    let mut cluster = Cluster::alone();
    let store = Words(Arc::new(cluster.connect().await));
    let mut watch = store.watch("a", None, true).await;
    for at in 0..20 {
        store.put("a", &at.to_string()).await;
        watch.commit().await;
    }
    cluster.members[0].restart_empty();
    let end = watch.item().await.expect("an item");
    assert!(matches!(end, Err(StoreError::Future { current }) if current < 20), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_is_not_used() {
    if !has_etcd("a_member_of_another_cluster_is_not_used") {
        return;
    }
    let (ours, others) = (Cluster::alone(), Cluster::alone());
    let wrong = Words(Arc::new(others.connect().await));
    wrong.put("a", "wrong").await;
    let store = ours.connect().await;
    Words(Arc::new(store)).put("a", "right").await;
    let mut options = Options::new(ours.urls());
    options.endpoints.extend(others.urls());
    let both = Words(Arc::new(Etcd::connect(options, PATIENCE).await.unwrap()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let first = text(&both.get("a").await.unwrap().value);
    for _ in 0..20 {
        assert_eq!(text(&both.get("a").await.unwrap().value), first, "one cluster, whichever came first");
    }
}

/// Writes and watches while members die and hang: what was acknowledged is there, and the watch shows every change
/// once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_die_and_hang() {
    if !has_etcd("members_die_and_hang") {
        return;
    }
    let mut cluster = Cluster::with(3, "http", &[]);
    let store = Words(Arc::new(cluster.connect().await));
    let mut watch = store.watch("k/", None, true).await;
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (store, stop, count) = (store.clone(), stop.clone(), count.clone());
        writers.spawn(async move {
            let key = format!("k/{writer}");
            // Of the last write that was acknowledged.
            let mut acknowledged: BTreeMap<Revision, u64> = BTreeMap::new();
            let mut revision = 0;
            for number in 0.. {
                if stop.load(SeqCst) {
                    break;
                }
                let txn = conditional(&key, revision, put(&key, &format!("{writer}-{number}")));
                match store.0.txn(txn).await {
                    Ok(result) => {
                        assert!(result.succeeded, "nobody else writes {key}: {result:?}");
                        revision = result.revision;
                        acknowledged.insert(revision, number);
                        count.fetch_add(1, SeqCst);
                    }
                    Err(StoreError::Unknown(_) | StoreError::Unavailable(_)) => {
                        let read = async {
                            loop {
                                let options = RangeOptions::default();
                                if let Ok(range) = store.0.range(bytes(&key), None, options).await {
                                    break range.kvs.first().map_or(0, |kv| kv.mod_revision);
                                }
                            }
                        };
                        revision = in_time(read).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            (key, acknowledged)
        });
    }
    let progress = |count: Arc<AtomicU64>| async move {
        let goal = count.load(SeqCst) + 50;
        while count.load(SeqCst) < goal {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(progress(count.clone())).await;
    let leader = cluster.leader().await;
    cluster.members[leader].kill();
    in_time(progress(count.clone())).await;
    cluster.members[leader].restart();
    in_time(progress(count.clone())).await;
    for at in 0..3 {
        cluster.members[at].pause();
        in_time(progress(count.clone())).await;
        cluster.members[at].resume();
    }
    in_time(progress(count.clone())).await;
    for at in 0..3 {
        cluster.members[at].restart();
    }
    in_time(progress(count.clone())).await;
    stop.store(true, SeqCst);
    let mut acknowledged = BTreeMap::new();
    while let Some(done) = in_time(writers.join_next()).await {
        let (key, writes) = done.unwrap();
        acknowledged.extend(writes.into_iter().map(|(at, number)| (at, (key.clone(), number))));
    }
    let end = store.0.revision().await.unwrap();
    let mut last = 0;
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    while last < end {
        let commit = watch.commit().await;
        assert!(commit.revision > last, "{} after {last}", commit.revision);
        last = commit.revision;
        for event in commit.events {
            let key = text(&event.kv.key);
            let version = versions.entry(key.clone()).or_default();
            assert_eq!(event.kv.version, *version + 1, "no change of {key} is missing or doubled");
            *version = event.kv.version;
            if let Some((wrote, number)) = acknowledged.remove(&commit.revision) {
                let value = format!("{}-{number}", &wrote[2..]);
                assert_eq!((wrote, value), (key, text(&event.kv.value)));
            }
        }
    }
    assert!(acknowledged.is_empty(), "acknowledged and never seen: {acknowledged:?}");
    drop_logs(cluster.dir.path());
}

/// Shows that the members really ran.
fn drop_logs(dir: &Path) {
    let logs = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    assert_eq!(logs.count(), 3);
}
