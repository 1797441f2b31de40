//! [`Kubelet`]: what the parts of one node agent share.
//!
//! One value, made once by `lib.rs` and handed around as an `Arc`. It owns no logic beyond small look-ups.

use crate::config::Config;
use crate::container::fields;
use crate::images::Images;
use crate::node::State;
use crate::node::machine::Machine;
use crate::pod::backoff::Backoff;
use crate::pod::workers::Workers;
use crate::probes::Probes;
use crate::references::References;
use crate::runtime::Runtime;
use crate::spec;
use crate::statics::Statics;
use crate::status::manager::StatusManager;
use crate::volumes::Volumes;
use crate::volumes::token::Tokens;
use api::k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use client::{Client, EventRecorder, EventType, Informer};
use component::{SharedClock, Tasks};

/// A node agent.
pub(crate) struct Kubelet {
    /// What it was told.
    pub(crate) config: Config,
    /// The API.
    pub(crate) client: Client,
    /// Time.
    pub(crate) clock: SharedClock,
    /// Its tasks.
    pub(crate) tasks: Tasks,
    /// The runtime.
    pub(crate) runtime: Runtime,
    /// Events.
    pub(crate) recorder: EventRecorder,
    /// The machine.
    pub(crate) machine: Machine,
    /// State of the node.
    pub(crate) node: State,
    /// Pod workers.
    pub(crate) workers: std::sync::Arc<Workers>,
    /// Statuses of pods.
    pub(crate) status: StatusManager,
    /// Probes.
    pub(crate) probes: Probes,
    /// Images.
    pub(crate) images: Images,
    /// Volumes.
    pub(crate) volumes: Volumes,
    /// Static pods.
    pub(crate) statics: Statics,
    /// Service account tokens.
    pub(crate) tokens: Tokens,
    /// ConfigMaps and Secrets of pods.
    pub(crate) references: References,
    /// Services, for environment variables.
    pub(crate) services: Informer<Service>,
    /// Back-off of crashing containers.
    pub(crate) crashes: Backoff,
}

impl Kubelet {
    /// Addresses of the pod: the node's on the host's network.
    pub(crate) fn pod_ips(&self, pod: &Pod) -> Vec<String> {
        if spec::host_network(pod) {
            return self.config.host_ips();
        }
        let runtime = self.workers.get(spec::uid(pod)).and_then(|w| w.runtime());
        runtime.map(|r| r.ips().to_vec()).unwrap_or_default()
    }

    /// What the downward API tells about the pod.
    pub(crate) fn field_values(&self, pod: &Pod) -> fields::Runtime {
        fields::Runtime {
            pod_ips: self.pod_ips(pod),
            host_ips: self.config.host_ips(),
            milli_cpu: self.machine.milli_cpu() - self.config.reserved_milli_cpu,
            memory: self.machine.memory_bytes - self.config.reserved_memory,
            storage: self.machine.storage_bytes(&self.config.root_dir),
        }
    }

    /// Tells about a pod.
    pub(crate) fn pod_event(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(pod, kind, reason, message);
    }

    /// Tells about a container of a pod.
    pub(crate) fn container_event(
        &self,
        pod: &Pod,
        container: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut about = client::events::reference(pod);
        about.field_path = field_path(pod, container);
        self.recorder.event_about(about, kind, reason, message);
    }

    /// Tells about the node.
    pub(crate) fn node_event(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.config.node_name.clone()),
            // Events of nodes carry the name as UID, as upstream's do.
            uid: Some(self.config.node_name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event_about(about, kind, reason, message);
    }
}

/// Where a container stands in its pod, as events name it.
fn field_path(pod: &Pod, name: &str) -> Option<String> {
    let (role, _) = spec::find(pod, name)?;
    let list = match role {
        spec::Role::Init | spec::Role::Sidecar => "initContainers",
        spec::Role::Regular => "containers",
        spec::Role::Ephemeral => "ephemeralContainers",
    };
    Some(format!("spec.{list}{{{name}}}"))
}
