//! Probes: one task per running container and kind of probe, verdicts by container id.
//!
//! Verdicts reach the API at once (the status is computed anew) and the pod's worker is woken where a restart or
//! the next init container may be due.

mod action;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod tcp;
mod worker;

use crate::kubelet::Kubelet;
use crate::model::{RuntimeContainer, RuntimePod, State};
use crate::pod::actions::{ProbeResults, Verdict};
use crate::spec::{self, Role};
use api::k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, Probe};
use component::Tasks;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Whether the container has come up; the others wait for it.
    Startup,
    /// Whether the container must be restarted.
    Liveness,
    /// Whether the container takes traffic.
    Readiness,
}

impl Kind {
    /// As messages spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// Probes of one running container.
struct Followed {
    pod: String,
    /// Stops liveness and startup probes.
    restarting: Tasks,
    /// Stops all.
    all: Tasks,
}

#[derive(Default)]
struct Table {
    verdicts: HashMap<(String, Kind), Verdict>,
    followed: HashMap<String, Followed>,
}

/// All probes of the node. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Probes {
    table: Arc<Mutex<Table>>,
}

impl ProbeResults for Probes {
    fn liveness(&self, container_id: &str) -> Verdict {
        self.verdict(container_id, Kind::Liveness)
    }
    fn startup(&self, container_id: &str) -> Verdict {
        self.verdict(container_id, Kind::Startup)
    }
    fn readiness(&self, container_id: &str) -> Verdict {
        self.verdict(container_id, Kind::Readiness)
    }
}

/// The status of this very container at the API, from before a restart of the kubelet.
fn known<'a>(pod: &'a Pod, running: &RuntimeContainer) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|s| s.container_id.as_deref().is_some_and(|id| id.ends_with(&format!("://{}", running.id))))
}

impl Probes {
    fn verdict(&self, id: &str, kind: Kind) -> Verdict {
        self.table.lock().verdicts.get(&(id.to_owned(), kind)).copied().unwrap_or(Verdict::Unknown)
    }

    /// Keeps a verdict; returns whether it is new.
    fn set(&self, id: &str, kind: Kind, verdict: Verdict) -> bool {
        let mut table = self.table.lock();
        if !table.followed.contains_key(id) {
            return false;
        }
        table.verdicts.insert((id.to_owned(), kind), verdict) != Some(verdict)
    }

    /// Starts the probes of containers that run and ends those of containers that do not.
    pub(crate) fn follow(&self, kubelet: &Arc<Kubelet>, pod: &Arc<Pod>, runtime: &RuntimePod) {
        let uid = spec::uid(pod);
        let mut running: Vec<&str> = Vec::new();
        for (role, container) in spec::all(pod) {
            if !matches!(role, Role::Regular | Role::Sidecar) {
                continue;
            }
            let latest = runtime.latest(&container.name).filter(|c| c.state == State::Running);
            let Some(latest) = latest else { continue };
            running.push(&latest.id);
            self.start(kubelet, pod, &container, latest);
        }
        let mut table = self.table.lock();
        let gone: Vec<String> = table
            .followed
            .iter()
            .filter(|(id, f)| f.pod == uid && !running.contains(&id.as_str()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            table.drop_container(&id);
        }
    }

    fn start(
        &self,
        kubelet: &Arc<Kubelet>,
        pod: &Arc<Pod>,
        container: &Container,
        running: &RuntimeContainer,
    ) {
        let kinds: Vec<Kind> = [Kind::Startup, Kind::Liveness, Kind::Readiness]
            .into_iter()
            .filter(|kind| kind.of(container).is_some())
            .collect();
        let old = known(pod, running);
        let all = kubelet.tasks.child();
        let restarting = all.child();
        {
            let mut table = self.table.lock();
            if kinds.is_empty() || table.followed.contains_key(&running.id) {
                return;
            }
            let followed =
                Followed { pod: spec::uid(pod).to_owned(), restarting: restarting.clone(), all: all.clone() };
            table.followed.insert(running.id.clone(), followed);
            for kind in &kinds {
                let verdict = match kind {
                    Kind::Liveness => Verdict::Success,
                    Kind::Startup if old.is_some_and(|o| o.started == Some(true)) => Verdict::Success,
                    Kind::Readiness if old.is_some_and(|o| o.ready) => Verdict::Success,
                    Kind::Startup => Verdict::Unknown,
                    Kind::Readiness => Verdict::Failure,
                };
                table.verdicts.insert((running.id.clone(), *kind), verdict);
            }
        }
        let started = container.startup_probe.is_none() || self.startup(&running.id) == Verdict::Success;
        let (gate, opened) = watch::channel(started);
        let gate = Arc::new(gate);
        for kind in kinds {
            if kind == Kind::Startup && started {
                continue;
            }
            let Some(probe) = kind.of(container).cloned() else { continue };
            let task = worker::Worker {
                kubelet: kubelet.clone(),
                pod_uid: spec::uid(pod).to_owned(),
                container: container.clone(),
                id: running.id.clone(),
                started_at: running.started_at,
                kind,
                probe,
                gate: gate.clone(),
            };
            let group = if kind == Kind::Readiness { &all } else { &restarting };
            group.spawn_until_stopped("probe", task.run(opened.clone()));
        }
    }

    /// The pod is ending: nothing will be restarted, but readiness is still of interest.
    pub(crate) fn stop_restarting(&self, uid: &str) {
        for followed in self.table.lock().followed.values().filter(|f| f.pod == uid) {
            followed.restarting.stop();
        }
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut table = self.table.lock();
        let ids: Vec<String> =
            table.followed.iter().filter(|(_, f)| f.pod == uid).map(|(id, _)| id.clone()).collect();
        for id in ids {
            table.drop_container(&id);
        }
    }
}

impl Table {
    fn drop_container(&mut self, id: &str) {
        if let Some(followed) = self.followed.remove(id) {
            followed.all.stop();
        }
        for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
            self.verdicts.remove(&(id.to_owned(), kind));
        }
    }
}
