//! What the runtime says about a pod, in the kubelet's own words.
//!
//! The one place where CRI's sandboxes and containers become types that the pure parts (actions, status)
//! decide on. Deliberately absent: asking the runtime, which `runtime.rs` does.

use std::cmp::Reverse;

/// Labels that find a pod's sandboxes and containers again after a restart (upstream's `kubelet/types`).
pub(crate) mod labels {
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// Annotations that carry what a later kubelet must know about a container.
pub(crate) mod annotations {
    pub(crate) const HASH: &str = "io.kubernetes.container.hash";
    pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    pub(crate) const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    pub(crate) const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    pub(crate) const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
    pub(crate) const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
    pub(crate) const PORTS: &str = "io.kubernetes.container.ports";
}

/// State of a container in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, never started: starting failed or is under way.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

/// One attempt at a container. Times are nanoseconds since the Unix epoch, 0 for never.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuntimeContainer {
    /// Runtime's id, without the runtime's name.
    pub(crate) id: String,
    /// Name in the pod.
    pub(crate) name: String,
    /// Sandbox it lives in.
    pub(crate) sandbox_id: String,
    /// State.
    pub(crate) state: State,
    /// Creation.
    pub(crate) created_at: i64,
    /// Start.
    pub(crate) started_at: i64,
    /// End.
    pub(crate) finished_at: i64,
    /// Exit code, meaningful once exited.
    pub(crate) exit_code: i32,
    /// Signal that ended it, if the reason names one.
    pub(crate) reason: String,
    /// Termination message (or the runtime's, for containers that failed to start).
    pub(crate) message: String,
    /// Image as the user wrote it.
    pub(crate) image: String,
    /// Image reference with digest: the API's `imageID`.
    pub(crate) image_id: String,
    /// Hash of the container's definition; see [`crate::spec::hash`].
    pub(crate) hash: u64,
    /// How many attempts came before.
    pub(crate) restart_count: i32,
    /// Path of its log file.
    pub(crate) log_path: String,
    /// uid, gid and supplementary groups of its first process, where the runtime tells.
    pub(crate) user: Option<(i64, i64, Vec<i64>)>,
}

/// One attempt at a pod's sandbox.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sandbox {
    /// Runtime's id.
    pub(crate) id: String,
    /// Attempt, from 0.
    pub(crate) attempt: u32,
    /// Whether it is ready.
    pub(crate) ready: bool,
    /// Creation, nanoseconds since the Unix epoch.
    pub(crate) created_at: i64,
    /// Addresses, primary first; empty on the host's network.
    pub(crate) ips: Vec<String>,
    /// Whether it shares the host's network.
    pub(crate) host_network: bool,
}

/// A pod as the runtime knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuntimePod {
    /// UID of the pod.
    pub(crate) uid: String,
    /// Name of the pod.
    pub(crate) name: String,
    /// Namespace of the pod.
    pub(crate) namespace: String,
    /// Sandboxes, newest first.
    pub(crate) sandboxes: Vec<Sandbox>,
    /// Containers, newest first.
    pub(crate) containers: Vec<RuntimeContainer>,
}

impl RuntimePod {
    /// Brings sandboxes and containers in order, newest first.
    pub(crate) fn sort(&mut self) {
        self.sandboxes.sort_by_key(|s| Reverse((s.attempt, s.created_at)));
        self.containers.sort_by_key(|c| Reverse((c.created_at, c.restart_count)));
    }

    /// The newest attempt at the container called `name`.
    pub(crate) fn latest(&self, name: &str) -> Option<&RuntimeContainer> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The attempt before the newest.
    pub(crate) fn previous(&self, name: &str) -> Option<&RuntimeContainer> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }

    /// The sandbox that runs the pod now, if any.
    pub(crate) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// Containers whose process may still run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &RuntimeContainer> {
        self.containers.iter().filter(|c| matches!(c.state, State::Running | State::Unknown))
    }

    /// Whether nothing of the pod runs any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.running().next().is_none() && self.sandboxes.iter().all(|s| !s.ready)
    }

    /// Addresses of the newest sandbox.
    pub(crate) fn ips(&self) -> &[String] {
        self.sandboxes.first().map_or(&[], |s| &s.ips)
    }
}
