//! The HTTP transport against the real API server: TLS, HTTP/2, client certificates, errors, watches.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use apiserver::{ApiServer, Listen};
use base64::Engine;
use client::{
    Client, Config, DeleteOptions, Event, HttpTransport, Informer, Kubeconfig, ListOptions, Patch, Removed,
    Selection,
};
use component::Tasks;
use component::clock::SystemClock;
use component::tls::{self, KeyPair};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::embedded::{Embedded, Options};

struct Pki {
    ca: Vec<u8>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "ca");
        let ca = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { ca, issuer: rcgen::Issuer::new(params, key) }
    }

    fn pair(&self, name: &str, group: &str) -> KeyPair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem().into_bytes();
        KeyPair { certificate, key: key.serialize_pem().into_bytes() }
    }
}

struct World {
    pki: Pki,
    address: SocketAddr,
    tasks: Tasks,
    _api: ApiServer,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (pki, dir, tasks) = (Pki::new(), tempfile::tempdir().unwrap(), Tasks::new());
        let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
        let config = apiserver::Config {
            client_ca: Some(pki.ca.clone()),
            advertise: "192.0.2.10:6443".parse().unwrap(),
            ..apiserver::Config::default()
        };
        let server = tls::server(&pki.pair("server", "servers"), Some(&pki.ca)).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen { listener, tls: Some(Arc::new(server)) };
        let api = ApiServer::start(config, vec![listen], store, SystemClock::shared(), &tasks).await.unwrap();
        let address = api.addresses()[0];
        Self { pki, address, tasks, _api: api, _dir: dir }
    }

    /// A kubeconfig as a user has it.
    fn kubeconfig(&self, pair: &KeyPair) -> Kubeconfig {
        let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: https://{}\n    \
             certificate-authority-data: {}\nusers:\n- name: u\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\n",
            self.address,
            base64(&self.pki.ca),
            base64(&pair.certificate),
            base64(&pair.key)
        );
        Kubeconfig::parse(&text, std::path::Path::new("/")).unwrap()
    }

    async fn client(&self, name: &str, group: &str) -> Client {
        let config = self.kubeconfig(&self.pki.pair(name, group)).config(None).unwrap();
        HttpTransport::new(config, SystemClock::shared()).await.unwrap().client()
    }
}

fn map(name: &str, value: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some([("value".to_owned(), value.to_owned())].into());
    map
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("did not happen in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_read_and_written() {
    let world = World::new().await;
    let client = world.client("admin", "system:masters").await;
    let maps = client.namespaced::<ConfigMap>("default");
    let created = soon(maps.create(&map("a", "1"))).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_some());
    assert_eq!(*maps.get("a").await.unwrap(), *created);
    let taken = maps.create(&map("a", "2")).await.unwrap_err();
    assert!(taken.is_already_exists());
    assert_eq!(taken.message, "configmaps \"a\" already exists");
    let patched = maps.patch("a", Patch::Merge(r#"{"data":{"value":"2"}}"#.into())).await.unwrap();
    assert_eq!(patched.data.as_ref().unwrap()["value"], "2");
    assert!(maps.update(&created).await.unwrap_err().is_conflict());
    maps.create(&map("b", "1")).await.unwrap();
    let page = maps.list(&ListOptions { limit: 1, ..ListOptions::default() }).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let rest = ListOptions { limit: 10, continue_token: page.continue_token, ..ListOptions::default() };
    let rest = maps.list(&rest).await.unwrap();
    assert_eq!(rest.items.iter().map(|map| map.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["b"]);
    assert!(
        matches!(maps.delete("a").await.unwrap(), Removed::Gone(last) if last.metadata.name.as_deref() == Some("a"))
    );
    assert!(maps.get_opt("a").await.unwrap().is_none());
    maps.delete_collection(&ListOptions::default(), &DeleteOptions::default()).await.unwrap();
    assert!(maps.get("b").await.unwrap_err().is_not_found());
    assert!(client.all::<Namespace>().get("default").await.is_ok());
    let version = soon(async {
        let config = world.kubeconfig(&world.pki.pair("admin", "system:masters")).config(None).unwrap();
        HttpTransport::new(config, SystemClock::shared()).await.unwrap().get_bytes("/version").await
    })
    .await
    .unwrap();
    let version: serde_json::Value = serde_json::from_slice(&version).unwrap();
    assert_eq!(version["minor"], "36");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_reads_holds_nothing_up() {
    let world = World::new().await;
    let client = world.client("admin", "system:masters").await;
    let maps = client.namespaced::<ConfigMap>("default");
    let _unread = soon(maps.watch(&ListOptions::default())).await.unwrap();
    let value = "x".repeat(10_000);
    for number in 0..100 {
        soon(maps.create(&map(&format!("map-{number}"), &value))).await.unwrap();
    }
}

/// A connection takes a few hundred streams; a process may watch more than that.
#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_watches_leave_room_for_requests() {
    let world = World::new().await;
    let client = world.client("admin", "system:masters").await;
    let maps = client.namespaced::<ConfigMap>("default");
    let mut watches = Vec::new();
    for _ in 0..600 {
        watches.push(soon(maps.watch(&ListOptions::default())).await.unwrap());
    }
    soon(maps.create(&map("seen", "1"))).await.unwrap();
    for watch in &mut watches {
        soon(async {
            while !matches!(watch.next().await, Some(Ok(client::Watched::Added(seen)))
                if seen.metadata.name.as_deref() == Some("seen"))
            {}
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn informers_follow_over_the_network() {
    let world = World::new().await;
    let client = world.client("admin", "system:masters").await;
    let maps = client.namespaced::<ConfigMap>("default");
    maps.create(&map("a", "1")).await.unwrap();
    let informer = Informer::<ConfigMap>::start(
        &client,
        &Selection::namespace("default"),
        SystemClock::shared(),
        &world.tasks,
    );
    soon(informer.synced()).await;
    assert!(informer.store().find("default", "a").is_some());
    let mut events = informer.subscribe();
    assert!(matches!(soon(events.recv()).await, Some(Event::Added(_))));
    let patched = maps.patch("a", Patch::Merge(r#"{"data":{"value":"2"}}"#.into())).await.unwrap();
    let Some(Event::Updated { old, new }) = soon(events.recv()).await else { panic!("not an update") };
    assert_eq!((old.data.as_ref().unwrap()["value"].as_str(), &*new), ("1", &*patched));
    assert_eq!(Some(informer.revision().to_string()), patched.metadata.resource_version);
    maps.delete("a").await.unwrap();
    assert!(matches!(soon(events.recv()).await, Some(Event::Deleted(_))));
    world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_dead_servers_are_told_apart() {
    let world = World::new().await;
    let stranger = world.client("nobody", "none").await;
    let forbidden = stranger.namespaced::<Pod>("default").get("p").await.unwrap_err();
    assert_eq!(forbidden.code, 403, "{forbidden}");
    assert!(forbidden.message.contains("User \"nobody\" cannot get resource \"pods\""), "{forbidden}");
    let other = Pki::new();
    let pair = world.pki.pair("admin", "system:masters");
    let config = Config::with_certificates(&format!("https://{}", world.address), other.ca, pair.clone());
    let untrusted = HttpTransport::new(config, SystemClock::shared()).await.unwrap().client();
    let error = soon(untrusted.all::<Namespace>().get("default")).await.unwrap_err();
    assert!(error.code == 503 && error.message.contains("certificate"), "{error}");
    let config = Config {
        insecure: true,
        ..Config::with_certificates(&format!("https://{}", world.address), Vec::new(), pair.clone())
    };
    let insecure = HttpTransport::new(config, SystemClock::shared()).await.unwrap().client();
    assert!(soon(insecure.all::<Namespace>().get("default")).await.is_ok());
    // A port that nothing listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config::with_certificates(&format!("https://{free}"), world.pki.ca.clone(), pair);
    let nobody = HttpTransport::new(config, SystemClock::shared()).await.unwrap().client();
    let error = soon(nobody.all::<Namespace>().get("default")).await.unwrap_err();
    assert!(error.message.contains("refused"), "{error}");
}
