//! Container statuses of the API, from what the runtime says, what the last sync failed at and what probes
//! found. Pure.

use crate::model::{RuntimeContainer, RuntimePod, State};
use crate::pod::actions::{ProbeResults, Verdict, was_initialized};
use crate::spec::{self, Role};
use api::k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, Pod, VolumeMountStatus,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use std::collections::HashMap;

/// Why the last attempt to start a container failed: reason and message by container name.
pub(crate) type StartErrors = HashMap<String, (String, String)>;

/// What statuses are made from.
pub(crate) struct Inputs<'a> {
    /// The pod; its `status` is the last known.
    pub(crate) pod: &'a Pod,
    /// What runs.
    pub(crate) runtime: &'a RuntimePod,
    /// What failed.
    pub(crate) errors: &'a StartErrors,
    /// What probes found.
    pub(crate) probes: &'a dyn ProbeResults,
    /// Name of the runtime, the scheme of container ids.
    pub(crate) runtime_name: &'a str,
    /// Whether nothing of the pod will run again.
    pub(crate) terminal: bool,
}

/// Statuses of the three kinds of containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statuses {
    /// Init containers and sidecars.
    pub(crate) init: Vec<ContainerStatus>,
    /// Ordinary containers.
    pub(crate) regular: Vec<ContainerStatus>,
    /// Ephemeral containers.
    pub(crate) ephemeral: Vec<ContainerStatus>,
}

/// A time of the runtime, `None` for never.
pub(crate) fn time(nanos: i64) -> Option<Time> {
    // The API keeps whole seconds.
    (nanos > 0).then(|| Timestamp::from_second(nanos / 1_000_000_000).ok().map(Time)).flatten()
}

fn terminated(inputs: &Inputs<'_>, c: &RuntimeContainer) -> ContainerStateTerminated {
    let reason = match (c.reason.as_str(), c.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    ContainerStateTerminated {
        container_id: Some(format!("{}://{}", inputs.runtime_name, c.id)),
        exit_code: c.exit_code,
        finished_at: time(c.finished_at),
        started_at: time(c.started_at),
        message: (!c.message.is_empty()).then(|| c.message.clone()),
        reason: Some(reason.to_owned()),
        signal: None,
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: text(reason), message: text(message) }),
        ..ContainerState::default()
    }
}

fn ended(state: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(state), ..ContainerState::default() }
}

fn lost(message: &str) -> ContainerState {
    ended(ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some(message.to_owned()),
        ..ContainerStateTerminated::default()
    })
}

fn old_status<'a>(pod: &'a Pod, role: Role, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let list = match role {
        Role::Init | Role::Sidecar => &status.init_container_statuses,
        Role::Regular => &status.container_statuses,
        Role::Ephemeral => &status.ephemeral_container_statuses,
    };
    list.as_ref()?.iter().find(|s| s.name == name)
}

/// The status of a container that the runtime does not have.
fn absent(inputs: &Inputs<'_>, role: Role, container: &Container) -> ContainerStatus {
    let default_reason = match spec::init(inputs.pod).is_empty() {
        true => "ContainerCreating",
        false => "PodInitializing",
    };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(default_reason, "")),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let old = old_status(inputs.pod, role, &container.name);
    if role == Role::Init && was_initialized(inputs.pod, inputs.runtime) && old.is_none_or(|o| !is_ended(o)) {
        status.state = Some(ended(ContainerStateTerminated {
            reason: Some("Completed".to_owned()),
            message: Some(
                "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"
                    .to_owned(),
            ),
            ..ContainerStateTerminated::default()
        }));
        status.ready = true;
        return status;
    }
    let Some(old) = old else { return status };
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if is_ended(old) && (role == Role::Init || inputs.terminal || spec::is_finished(inputs.pod)) {
        let mut kept = old.clone();
        kept.started = Some(false);
        return kept;
    }
    if old.state.as_ref().is_some_and(|s| s.running.is_some()) {
        let message =
            "The container could not be located when the pod was deleted.  The container used to be Running";
        status.last_state = Some(lost(message));
        status.restart_count += 1;
    } else if is_ended(old) {
        status.last_state = old.state.clone();
    }
    status
}

fn is_ended(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.terminated.is_some())
}

fn present(
    inputs: &Inputs<'_>,
    role: Role,
    container: &Container,
    latest: &RuntimeContainer,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: if latest.image.is_empty() {
            container.image.clone().unwrap_or_default()
        } else {
            latest.image.clone()
        },
        image_id: latest.image_id.clone(),
        container_id: Some(format!("{}://{}", inputs.runtime_name, latest.id)),
        restart_count: latest.restart_count,
        started: Some(false),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    };
    status.state = Some(match latest.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(latest.started_at) }),
            ..ContainerState::default()
        },
        State::Exited => ended(terminated(inputs, latest)),
        State::Created => waiting("ContainerCreating", ""),
        State::Unknown => lost("The container could not be located when the pod was terminated"),
    });
    let previous = inputs.runtime.previous(&container.name).filter(|p| p.state == State::Exited);
    status.last_state = match previous {
        Some(previous) => Some(ended(terminated(inputs, previous))),
        None => old_status(inputs.pod, role, &container.name)
            .filter(|old| old.restart_count == latest.restart_count && latest.restart_count > 0)
            .and_then(|old| old.last_state.clone()),
    };
    if latest.state == State::Running {
        status.resources = container.resources.clone();
        status.allocated_resources = container.resources.as_ref().and_then(|r| r.requests.clone());
        status.user = latest.user.as_ref().map(|(uid, gid, groups)| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: *uid,
                gid: *gid,
                supplemental_groups: Some(groups.clone()),
            }),
        });
    }
    judge(inputs, role, container, latest, &mut status);
    status
}

/// Sets `started` and `ready`.
fn judge(
    inputs: &Inputs<'_>,
    role: Role,
    container: &Container,
    latest: &RuntimeContainer,
    status: &mut ContainerStatus,
) {
    let passes = |probed: bool, verdict: Verdict| !probed || verdict == Verdict::Success;
    let running = latest.state == State::Running;
    let started = running && passes(container.startup_probe.is_some(), inputs.probes.startup(&latest.id));
    status.started = Some(started);
    status.ready = match role {
        Role::Init => latest.state == State::Exited && latest.exit_code == 0,
        Role::Ephemeral => false,
        Role::Sidecar | Role::Regular => {
            started && passes(container.readiness_probe.is_some(), inputs.probes.readiness(&latest.id))
        }
    };
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let list = container.volume_mounts.as_ref()?;
    let status = |m: &api::k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        mount_path: m.mount_path.clone(),
        name: m.name.clone(),
        read_only: m.read_only,
        recursive_read_only: m.read_only.filter(|r| *r).map(|_| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    };
    Some(list.iter().map(status).collect())
}

/// A container that is about to be started and failed the last time waits for a reason that can be told.
fn apply_error(inputs: &Inputs<'_>, role: Role, container: &Container, status: &mut ContainerStatus) {
    let Some((reason, message)) = inputs.errors.get(&container.name) else { return };
    let latest = inputs.runtime.latest(&container.name);
    let due = match role {
        Role::Init => latest.is_none_or(|l| {
            l.state == State::Created
                || l.state == State::Exited && l.exit_code != 0 && spec::restarts_on_failure(inputs.pod)
        }),
        Role::Sidecar => latest.is_none_or(|l| l.state != State::Running),
        Role::Regular => spec::should_start(inputs.pod, container, latest),
        Role::Ephemeral => latest.is_none(),
    };
    if !due || inputs.terminal {
        return;
    }
    if let Some(state) = status.state.take().filter(|s| s.terminated.is_some()) {
        status.last_state = Some(state);
    }
    status.state = Some(waiting(reason, message));
}

fn one(inputs: &Inputs<'_>, role: Role, container: &Container) -> ContainerStatus {
    let mut status = match inputs.runtime.latest(&container.name) {
        Some(latest) => present(inputs, role, container, latest),
        None => absent(inputs, role, container),
    };
    apply_error(inputs, role, container, &mut status);
    if inputs.terminal && role == Role::Regular && status.state.as_ref().is_some_and(|s| s.waiting.is_some())
    {
        status.state = Some(lost("The container could not be located when the pod was terminated"));
    }
    status
}

/// Statuses of every container.
pub(crate) fn statuses(inputs: &Inputs<'_>) -> Statuses {
    let mut all = Statuses::default();
    for (role, container) in spec::all(inputs.pod) {
        let status = one(inputs, role, &container);
        match role {
            Role::Init | Role::Sidecar => all.init.push(status),
            Role::Regular => all.regular.push(status),
            // An ephemeral container that was not started yet has no status unless something failed.
            Role::Ephemeral => all.ephemeral.push(status),
        }
    }
    all
}
