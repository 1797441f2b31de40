//! The node: its object, its conditions, its lease.

pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod register;
pub(crate) mod status;

use crate::kubelet::Kubelet;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use api::k8s_openapi::api::node::v1::RuntimeClass;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a resource is short of, by the eviction manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// Memory.
    pub(crate) memory: bool,
    /// Disk space or inodes.
    pub(crate) disk: bool,
    /// Process ids.
    pub(crate) pid: bool,
}

#[derive(Default)]
struct Inner {
    /// Why the runtime is not ready; `None` when it is.
    runtime: Option<String>,
    /// Why the network is not ready; `None` when it is.
    network: Option<String>,
    pressure: Pressure,
}

/// State of the node that changes.
pub(crate) struct State {
    inner: Mutex<Inner>,
    again: Notify,
}

impl State {
    /// Nothing is ready yet.
    pub(crate) fn new() -> Self {
        let inner = Inner {
            runtime: Some("container runtime status check may not have completed yet".to_owned()),
            network: Some("container runtime network not ready: the runtime was not asked yet".to_owned()),
            pressure: Pressure::default(),
        };
        Self { inner: Mutex::new(inner), again: Notify::new() }
    }

    /// Whether pods can have a network, or why not.
    pub(crate) fn network(&self) -> Result<(), String> {
        match &self.inner.lock().network {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }

    /// Why the node is not ready, empty when it is.
    fn problems(&self) -> Vec<String> {
        let inner = self.inner.lock();
        inner.runtime.iter().chain(&inner.network).cloned().collect()
    }

    /// Short of what.
    pub(crate) fn pressure(&self) -> Pressure {
        self.inner.lock().pressure
    }

    /// Takes the eviction manager's finding; the node's status follows at once.
    pub(crate) fn set_pressure(&self, pressure: Pressure) {
        let changed = std::mem::replace(&mut self.inner.lock().pressure, pressure) != pressure;
        if changed {
            self.look_again();
        }
    }

    /// Something about the node may have changed.
    pub(crate) fn look_again(&self) {
        self.again.notify_one();
    }

    /// Asks the runtime how it is. Returns whether runtime or network changed.
    async fn probe(&self, kubelet: &Kubelet) -> bool {
        let (runtime, network) = match kubelet.runtime.conditions().await {
            Err(error) => (Some(format!("container runtime is down: {error}")), None),
            Ok(conditions) => {
                let find = |kind: &str, what: &str| {
                    let found = conditions.iter().find(|c| c.r#type == kind);
                    match found {
                        Some(c) if c.status => None,
                        Some(c) => Some(format!(
                            "container runtime {what}not ready: {kind}={} reason:{} message:{}",
                            c.status, c.reason, c.message
                        )),
                        None => Some(format!(
                            "container runtime {what}not ready: the runtime did not report {kind}"
                        )),
                    }
                };
                (find("RuntimeReady", ""), find("NetworkReady", "network "))
            }
        };
        let mut inner = self.inner.lock();
        let changed = inner.runtime != runtime || inner.network != network;
        inner.runtime = runtime;
        inner.network = network;
        changed
    }

    /// Name by which the runtime knows how to run the pod; empty is its default.
    pub(crate) async fn runtime_handler(&self, kubelet: &Kubelet, pod: &Pod) -> Result<String, String> {
        let Some(name) = spec::spec(pod).runtime_class_name.clone().filter(|n| !n.is_empty()) else {
            return Ok(String::new());
        };
        let class = kubelet.client.all::<RuntimeClass>().get(&name).await;
        class
            .map(|class| class.handler.clone())
            .map_err(|status| format!("failed to get RuntimeClass {name:?}: {status}"))
    }
}
