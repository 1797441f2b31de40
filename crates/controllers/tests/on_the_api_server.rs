//! The whole controller manager on the real API server, in process, with pods that start by themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use api::Kind;
use apiserver::{ApiServer, Config};
use client::{Client, DeleteOptions, Informer, Patch, Propagation, Selection};
use component::Tasks;
use component::clock::SystemClock;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;
use std::time::Duration;
use store::embedded::{Embedded, Options};

struct World {
    api: ApiServer,
    client: Client,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let (tasks, clock) = (Tasks::new(), SystemClock::shared());
    let config = Config { advertise: "192.0.2.10:6443".parse().unwrap(), ..Config::default() };
    let api = ApiServer::start(config, Vec::new(), store, clock.clone(), &tasks).await.unwrap();
    let groups = ["system:masters", "system:authenticated"];
    let manager = apiserver::UserInfo::new("system:kube-controller-manager", &groups);
    let config = controllers::Config { root_ca: b"PEM".to_vec(), ..controllers::Config::default() };
    let running = controllers::run(config, Client::new(api.transport(manager)), clock, tasks.clone());
    tasks.spawn("controllers", async move { running.await.unwrap() });
    let client = Client::new(api.context().loopback.clone());
    let world = World { api, client, tasks, _dir: dir };
    world.start_pods();
    world
}

impl World {
    /// What scheduler and kubelet do: pods run at once, and go when they are deleted.
    fn start_pods(&self) {
        let client = self.client.clone();
        let pods = Informer::<Pod>::start(&client, &Selection::default(), SystemClock::shared(), &self.tasks);
        let mut events = pods.subscribe();
        self.tasks.spawn_until_stopped("kubelet", async move {
            while let Some(event) = events.recv().await {
                let pod = event.object();
                if event.is_deleted() {
                    continue;
                }
                let meta = &pod.metadata;
                let api = client.namespaced::<Pod>(meta.namespace.as_deref().unwrap());
                let name = meta.name.as_deref().unwrap();
                if meta.deletion_timestamp.is_some() {
                    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
                    let _ = api.delete_with(name, &now).await;
                    continue;
                }
                let is_job = meta.labels.iter().flatten().any(|(key, _)| key == "job-name");
                let (phase, ready) = if is_job { ("Succeeded", "False") } else { ("Running", "True") };
                if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
                    continue;
                }
                let patch = serde_json::json!({"status": {"phase": phase, "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}],
                    "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
                let _ = api.patch_status(name, Patch::Merge(patch.to_string().into())).await;
            }
        });
    }

    /// Waits for a kind to become what `condition` says.
    async fn until<K: Kind>(&self, what: &str, condition: impl Fn(&[Arc<K>]) -> bool) {
        let tasks = self.tasks.child();
        let all = Informer::<K>::start(&self.client, &Selection::default(), SystemClock::shared(), &tasks);
        let mut events = all.subscribe();
        let waiting = async {
            all.synced().await;
            while !condition(&all.store().list()) {
                events.recv().await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        tasks.stop();
        assert!(outcome.is_ok(), "waited in vain until {what}: {:#?}", all.store().list());
    }

    async fn create<K: Kind>(&self, json: serde_json::Value) {
        let object = K::from_json(json.to_string().as_bytes()).unwrap();
        self.client.namespaced::<K>("default").create(&object).await.unwrap();
    }
}

fn template(app: &str, image: &str) -> serde_json::Value {
    serde_json::json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

fn named(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, name: &str) -> bool {
    meta.name.as_deref() == Some(name)
}

async fn until_accounts(world: &World, namespace: &str) {
    world
        .until::<ServiceAccount>("the service account is made", |all| {
            all.iter().any(|account| account.metadata.namespace.as_deref() == Some(namespace))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_rolled_out_served_and_collected() {
    let world = world().await;
    until_accounts(&world, "default").await;
    world
        .create::<Deployment>(serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "image:1")}}))
        .await;
    world
        .create::<Service>(
            serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        )
        .await;
    let available = |all: &[Arc<Deployment>]| {
        let status = all.first().and_then(|deployment| deployment.status.clone()).unwrap_or_default();
        status.available_replicas == Some(3)
            && status.updated_replicas == Some(3)
            && status.replicas == Some(3)
    };
    world.until::<Deployment>("it is available", available).await;
    world
        .until::<EndpointSlice>("its pods are served", |all| {
            let slices =
                all.iter().filter(|slice| slice.metadata.name.as_deref().unwrap().starts_with("web-"));
            slices.flat_map(|slice| slice.endpoints.iter().flatten()).count() == 3
        })
        .await;
    let deployments = world.client.namespaced::<Deployment>("default");
    let image = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"image:2"}]"#;
    deployments.patch("web", Patch::Json(image.into())).await.unwrap();
    world
        .until::<ReplicaSet>("the second revision has taken over", |all| {
            let ready = |set: &Arc<ReplicaSet>| {
                set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
            };
            let mut sizes: Vec<_> = all.iter().map(ready).collect();
            sizes.sort_unstable();
            sizes == [0, 3]
        })
        .await;
    let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    deployments.delete_with("web", &options).await.unwrap();
    world.until::<Pod>("its pods are gone", <[_]>::is_empty).await;
    world.until::<Deployment>("it is gone itself", <[_]>::is_empty).await;
    assert!(world.tasks.stop_and_wait(Duration::from_secs(10)).await);
    drop(world.api);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_complete_and_stateful_sets_fill_up() {
    let world = world().await;
    until_accounts(&world, "default").await;
    let mut job = template("job", "image:1");
    job["spec"]["restartPolicy"] = "Never".into();
    world
        .create::<Job>(
            serde_json::json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "load"},
            "spec": {"completions": 5, "parallelism": 2, "template": job}}),
        )
        .await;
    world
        .create::<StatefulSet>(
            serde_json::json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": template("db", "image:1")}}),
        )
        .await;
    world
        .until::<Job>("the job is complete", |all| {
            let status = all.first().and_then(|job| job.status.clone()).unwrap_or_default();
            let complete =
                status.conditions.iter().flatten().any(|c| c.type_ == "Complete" && c.status == "True");
            complete && status.succeeded == Some(5)
        })
        .await;
    world
        .until::<StatefulSet>("both replicas are ready", |all| {
            all.first().and_then(|set| set.status.clone()).unwrap_or_default().ready_replicas == Some(2)
        })
        .await;
    let names = world.client.namespaced::<Pod>("default");
    assert!(names.get_opt("db-0").await.unwrap().is_some() && names.get_opt("db-1").await.unwrap().is_some());
    world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_furnished_and_emptied() {
    let world = world().await;
    let namespaces = world.client.all::<Namespace>();
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("web".to_owned());
    namespaces.create(&namespace).await.unwrap();
    until_accounts(&world, "web").await;
    world
        .until::<ConfigMap>("the CA is published", |all| {
            all.iter().any(|m| {
                named(&m.metadata, "kube-root-ca.crt") && m.metadata.namespace.as_deref() == Some("web")
            })
        })
        .await;
    namespaces.delete("web").await.unwrap();
    world
        .until::<Namespace>("the namespace is gone", |all| !all.iter().any(|ns| named(&ns.metadata, "web")))
        .await;
    let left = world.client.all::<ConfigMap>().list(&client::ListOptions::default()).await.unwrap();
    assert!(!left.items.iter().any(|map| map.metadata.namespace.as_deref() == Some("web")));
    world.tasks.stop();
}
