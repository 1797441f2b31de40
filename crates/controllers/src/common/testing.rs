//! A world for tests of controllers: a fake API, a fake clock, and one controller running.

use crate::{Config, Context};
use client::Client;
use client::testing::FakeApi;
use component::Tasks;
use component::clock::FakeClock;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) struct World {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) api: FakeApi,
    pub(crate) config: Config,
    pub(crate) tasks: Tasks,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let api = FakeApi::new(clock.clone());
        Self { clock, api, config: Config::default(), tasks: Tasks::new() }
    }

    pub(crate) fn client(&self) -> Client {
        self.api.client()
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.config.clone(), self.client(), self.clock.clone(), self.tasks.clone())
    }

    pub(crate) fn start<Fut: Future<Output = ()> + Send + 'static>(&self, run: fn(Context) -> Fut) {
        self.tasks.spawn_until_stopped("controller", run(self.context()));
    }

    /// Does what a kubelet would: the pod runs and is ready.
    pub(crate) async fn make_ready(&self, pod: &Pod) {
        let since = client::time::time(&*self.clock).0.to_string();
        let patch = serde_json::json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": since},
        ]}});
        let meta = &pod.metadata;
        let api = self.client().namespaced::<Pod>(meta.namespace.as_deref().unwrap_or(""));
        let patch = client::Patch::Merge(patch.to_string().into());
        api.patch_status(meta.name.as_deref().unwrap_or(""), patch).await.expect("the pod is there");
    }

    /// Waits for changes of the API until `condition` holds, without time passing.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        self.api.until(what, |_| condition()).await;
    }

    /// Lets time pass in small steps until `condition` holds.
    pub(crate) async fn passing(&self, what: &str, condition: impl Fn() -> bool) {
        let ticking = async {
            loop {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                self.clock.advance(Duration::from_millis(500));
            }
        };
        tokio::select! {
            () = self.api.until(what, |_| condition()) => {}
            () = ticking => {}
        }
    }
}

/// A pod on node `node`, made and ready at `since` (seconds).
pub(crate) fn pod(name: &str, phase: &str, ready: bool, since: i64) -> Arc<Pod> {
    let time = Time(jiff::Timestamp::from_second(since).expect("a time"));
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.namespace = Some("default".to_owned());
    pod.metadata.uid = Some(format!("uid-{name}"));
    pod.metadata.creation_timestamp = Some(time.clone());
    let node = (phase != "Pending").then(|| "node".to_owned());
    pod.spec = Some(PodSpec { node_name: node, ..PodSpec::default() });
    let ready = PodCondition {
        type_: "Ready".to_owned(),
        status: if ready { "True" } else { "False" }.to_owned(),
        last_transition_time: Some(time),
        ..PodCondition::default()
    };
    let status =
        PodStatus { phase: Some(phase.to_owned()), conditions: Some(vec![ready]), ..PodStatus::default() };
    pod.status = Some(status);
    Arc::new(pod)
}

/// A template of pods labelled `app=<app>`.
pub(crate) fn template(app: &str) -> PodTemplateSpec {
    let labels = Some([("app".to_owned(), app.to_owned())].into());
    let container =
        Container { name: "main".to_owned(), image: Some("image:1".to_owned()), ..Container::default() };
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
        spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
    }
}
