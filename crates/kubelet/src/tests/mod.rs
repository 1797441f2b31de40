//! The kubelet through its public door: a fake API server on one side, a fake CRI runtime on the other, and a
//! clock that the test owns.

mod fake_runtime;
mod lifecycle;
mod restart;
mod server;
mod storage;

use crate::{Config, Eviction, run};
use api::k8s_openapi::api::core::v1::{Container, ContainerStatus, Event, Node, Pod, PodSpec};
use client::testing::FakeApi;
use component::Tasks;
use component::clock::FakeClock;
use fake_runtime::FakeRuntime;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A node under test. Its directory goes with it.
struct Bench {
    api: FakeApi,
    runtime: FakeRuntime,
    clock: Arc<FakeClock>,
    dir: PathBuf,
    tasks: Tasks,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    async fn new(name: &str) -> Self {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let api = FakeApi::new(clock.clone());
        let dir = std::env::temp_dir().join(format!("wl-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let tasks = Tasks::new();
        let runtime = FakeRuntime::serve(&dir.join("r.sock"), clock.clone(), &tasks).await;
        Self { api, runtime, clock, dir, tasks }
    }

    fn config(&self) -> Config {
        let socket = self.dir.join("r.sock");
        let ip = "192.0.2.1".parse().unwrap();
        let mut config = Config::new("n1", vec![ip], self.dir.join("k"), socket.to_str().unwrap());
        config.cgroups_per_qos = false;
        // The machine that runs the tests may be short of anything.
        config.eviction = Eviction {
            memory_available: 0,
            nodefs_available: 0.0,
            nodefs_inodes_free: 0.0,
            pid_available: 0.0,
        };
        config
    }

    /// Starts a kubelet; stop it with the tasks returned.
    async fn start(&self) -> Tasks {
        let tasks = self.tasks.child();
        run(self.config(), self.api.client(), self.clock.clone(), tasks.clone()).await.unwrap();
        tasks
    }

    /// Lets time pass, a second at a time, for as long as the test runs.
    fn let_time_pass(&self) {
        let clock = self.clock.clone();
        self.tasks.spawn_until_stopped("time", async move {
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
                clock.advance(Duration::from_secs(1));
            }
        });
    }

    async fn create(&self, pod: &Pod) -> Arc<Pod> {
        self.api.client().namespaced::<Pod>("default").create(pod).await.unwrap()
    }

    fn pod(&self, name: &str) -> Option<Arc<Pod>> {
        self.api.objects::<Pod>().into_iter().find(|p| p.metadata.name.as_deref() == Some(name))
    }

    async fn until_pod(&self, name: &str, what: &str, condition: impl Fn(&Pod) -> bool) -> Arc<Pod> {
        let waited = format!("pod {name} {what}");
        self.api.until(&waited, |_| self.pod(name).is_some_and(|p| condition(&p))).await;
        self.pod(name).unwrap()
    }

    async fn until_gone(&self, name: &str) {
        self.api.until(&format!("pod {name} is gone"), |_| self.pod(name).is_none()).await;
    }

    async fn until_event(&self, reason: &str, message: &str) {
        let found = |e: &Event| {
            e.reason.as_deref() == Some(reason) && e.message.as_deref().is_some_and(|m| m.contains(message))
        };
        let what = format!("event {reason} says {message:?}");
        self.api.until(&what, |api| api.objects::<Event>().iter().any(|e| found(e))).await;
    }
}

fn container(name: &str) -> Container {
    Container { name: name.to_owned(), image: Some("busybox:1".to_owned()), ..Container::default() }
}

fn pod(name: &str, containers: Vec<Container>) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.namespace = Some("default".to_owned());
    let node_name = Some("n1".to_owned());
    pod.spec = Some(PodSpec { containers, node_name, ..PodSpec::default() });
    pod
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn condition(pod: &Pod, kind: &str) -> String {
    let all = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    all.iter().find(|c| c.type_ == kind).map(|c| c.status.clone()).unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == "True"
}

fn status_of(pod: &Pod, name: &str) -> ContainerStatus {
    let status = pod.status.clone().unwrap_or_default();
    let lists = [status.container_statuses, status.init_container_statuses];
    lists.into_iter().flatten().flatten().find(|s| s.name == name).unwrap_or_default()
}

fn waits_for(pod: &Pod, name: &str) -> String {
    let state = status_of(pod, name).state.and_then(|s| s.waiting);
    state.and_then(|w| w.reason).unwrap_or_default()
}

#[tokio::test]
async fn the_node_registers_and_is_ready() {
    let bench = Bench::new("node").await;
    bench.start().await;
    let is_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    bench.api.until("the node is ready", |api| api.objects::<Node>().iter().any(|n| is_ready(n))).await;
    let node = bench.api.objects::<Node>()[0].clone();
    let labels = node.metadata.labels.clone().unwrap();
    assert_eq!(labels["kubernetes.io/hostname"], "n1");
    let status = node.status.clone().unwrap();
    assert_eq!(status.allocatable.unwrap()["pods"].0, "110");
    assert_eq!(status.node_info.unwrap().container_runtime_version, "fake://1");
    let leases = |api: &FakeApi| {
        api.objects::<api::k8s_openapi::api::coordination::v1::Lease>()
            .first()
            .and_then(|l| l.spec.clone())
            .and_then(|s| s.renew_time)
    };
    bench.api.until("the lease is made", |api| leases(api).is_some()).await;
    let first = leases(&bench.api);
    bench.let_time_pass();
    bench.api.until("the lease is renewed", |api| leases(api) != first).await;
    // A network that goes away makes the node not ready.
    bench.runtime.set_network_ready(false);
    bench.api.until("the node is not ready", |api| !is_ready(&api.objects::<Node>()[0])).await;
}
