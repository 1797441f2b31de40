//! Two API servers on one store: what one does the other sees, and neither gives out what the other gave.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use api::transport::{DeleteOptions, ListOptions, Target, WatchEvent, WriteOptions};
use apiserver::{ApiServer, Config, Listen};
use component::Tasks;
use component::clock::SystemClock;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use machinery::{GroupVersionResource, Status};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::embedded::{Embedded, Options};

struct Server {
    api: ApiServer,
    tasks: Tasks,
}

fn services() -> Target {
    Target::all(GroupVersionResource::new("", "v1", "services")).in_namespace("default")
}

fn addresses() -> Target {
    Target::all(GroupVersionResource::new("networking.k8s.io", "v1", "ipaddresses"))
}

impl Server {
    async fn start(store: &Arc<dyn Store>, advertise: &str, ports: (u16, u16)) -> Self {
        let config = Config {
            authorization_modes: vec!["AlwaysAllow".to_owned()],
            advertise: advertise.parse().unwrap(),
            node_ports: ports,
            ..Config::default()
        };
        let tasks = Tasks::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = vec![Listen { listener, tls: None }];
        let clock = SystemClock::shared();
        let api = ApiServer::start(config, listeners, store.clone(), clock, &tasks).await.unwrap();
        Self { api, tasks }
    }

    async fn create(&self, name: &str, spec: Value) -> Result<Arc<Service>, Status> {
        let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        let loopback = &self.api.context().loopback;
        let made = loopback.create(&services(), body.to_string().into(), &WriteOptions::default()).await?;
        Ok(made.get::<Service>().unwrap())
    }

    async fn delete(&self, name: &str) {
        let target = services().named(name);
        self.api.context().loopback.delete(&target, &DeleteOptions::default()).await.unwrap();
    }

    async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(10)).await);
    }
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    (dir, Arc::new(store))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_out_twice() {
    let (_dir, store) = store();
    // As many ports as Services: the last ones are found only by asking what is left.
    let ports = (30000, 30039);
    let one = Server::start(&store, "192.0.2.1:6443", ports).await;
    let two = Server::start(&store, "192.0.2.2:6443", ports).await;
    let spec = || json!({"type": "NodePort", "ports": [{"port": 80}]});
    let made = (0..40).map(|n| {
        let server = if n % 2 == 0 { &one } else { &two };
        async move { server.create(&format!("s{n}"), spec()).await.unwrap() }
    });
    let made = futures::future::join_all(made).await;
    let spec_of = |service: &Service| service.spec.clone().unwrap();
    let ips: BTreeSet<_> = made.iter().map(|service| spec_of(service).cluster_ip.unwrap()).collect();
    let used: BTreeSet<_> =
        made.iter().map(|service| spec_of(service).ports.unwrap()[0].node_port.unwrap()).collect();
    assert_eq!((ips.len(), used.len()), (40, 40));
    // The IPAddress objects say so too, with the one of the API's own Service.
    let listed = two.api.context().loopback.list(&addresses(), &ListOptions::default()).await.unwrap();
    let named: BTreeSet<_> = listed.items.iter().map(|ip| ip.meta().name.clone().unwrap()).collect();
    assert!(ips.iter().all(|ip| named.contains(ip.as_str())) && named.contains("10.96.0.1"), "{named:?}");
    assert_eq!(named.len(), 41);

    let full = two.create("full", spec()).await.unwrap_err();
    assert!(full.message.contains("range is full"), "{full}");
    let ip = ips.first().unwrap();
    let explicit = || json!({"clusterIP": ip, "ports": [{"port": 80}]});
    let refused = two.create("again", explicit()).await.unwrap_err();
    assert!(refused.message.contains("provided IP is already allocated"), "{refused}");
    // What one server releases the other gives out.
    let holder = made.iter().find(|service| spec_of(service).cluster_ip.as_ref() == Some(ip)).unwrap();
    one.delete(holder.metadata.name.as_deref().unwrap()).await;
    two.create("again", explicit()).await.unwrap();
    let port = spec_of(holder).ports.unwrap()[0].node_port.unwrap();
    let last = two.create("last", spec()).await.unwrap();
    assert_eq!(spec_of(&last).ports.unwrap()[0].node_port, Some(port));
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_without_reservations_is_reserved_at_the_start() {
    let (_dir, store) = store();
    let one = Server::start(&store, "192.0.2.1:6443", (30000, 30100)).await;
    let spec =
        json!({"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [{"port": 80, "nodePort": 30077}]});
    one.create("old", spec.clone()).await.unwrap();
    one.stop().await;
    // As earlier versions left it.
    for key in ["/registry/ranges/servicenodeports", "/registry/networking.k8s.io/ipaddresses/10.96.0.77"] {
        let gone = store::Op::Delete { start: key.into(), end: None };
        let done = store.txn(store::Txn { success: vec![gone], ..Default::default() }).await.unwrap();
        let [store::OpResult::Delete(removed)] = &done.results[..] else { panic!("{done:?}") };
        assert_eq!(removed.len(), 1, "{key}");
    }
    let two = Server::start(&store, "192.0.2.2:6443", (30000, 30100)).await;
    let refused = two.create("new", spec).await.unwrap_err();
    assert!(refused.message.contains("provided IP is already allocated"), "{refused}");
    assert!(refused.message.contains("provided port is already allocated"), "{refused}");
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_api_leads_to_all_that_live() {
    let (_dir, store) = store();
    let one = Server::start(&store, "192.0.2.1:6443", (30000, 30100)).await;
    let target = Target::all(GroupVersionResource::new("", "v1", "endpoints")).in_namespace("default");
    let mut seen = one.api.context().loopback.watch(&target, &ListOptions::default()).await.unwrap();
    let mut until = async |wanted: &[&str]| {
        let look = async {
            loop {
                let Some(Ok(WatchEvent::Added(stored) | WatchEvent::Modified(stored))) = seen.next().await
                else {
                    continue;
                };
                let endpoints = stored.get::<Endpoints>().unwrap();
                let subsets = endpoints.subsets.clone().unwrap_or_default();
                let found = subsets.iter().flat_map(|subset| subset.addresses.iter().flatten());
                if found.map(|address| address.ip.as_str()).eq(wanted.iter().copied()) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), look).await.expect("the endpoints change");
    };
    until(&["192.0.2.1"]).await;
    let two = Server::start(&store, "192.0.2.2:6443", (30000, 30100)).await;
    until(&["192.0.2.1", "192.0.2.2"]).await;
    two.stop().await;
    until(&["192.0.2.1"]).await;
    one.stop().await;
}
