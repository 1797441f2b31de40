//! What to do about a pod, as a pure function of what is wanted and what runs.
//!
//! One executor (`pod/sync.rs`) carries the plan out. Deliberately absent: I/O, time and back-off, so that
//! every rule is a row of a table in the tests.

use crate::model::{RuntimeContainer, RuntimePod, State};
use crate::spec;
use api::k8s_openapi::api::core::v1::{Container, Pod};

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// Its definition changed.
    Changed,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// The runtime does not know its state.
    Unknown,
}

/// One container to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    /// Runtime's id.
    pub(crate) id: String,
    /// Name in the pod.
    pub(crate) name: String,
    /// Why.
    pub(crate) reason: KillReason,
    /// Text of the event.
    pub(crate) message: String,
}

/// The plan. Indexes point into the pod's lists of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// Stop everything, the sandbox included, before anything else.
    pub(crate) kill_pod: bool,
    /// Make a sandbox.
    pub(crate) create_sandbox: bool,
    /// Attempt of the new sandbox, or of the current.
    pub(crate) attempt: u32,
    /// Sandbox to use, when none is made.
    pub(crate) sandbox_id: Option<String>,
    /// Containers to stop.
    pub(crate) kill: Vec<Kill>,
    /// Ephemeral containers to start.
    pub(crate) ephemeral: Vec<usize>,
    /// Init containers to start, in order.
    pub(crate) init: Vec<usize>,
    /// Containers to start.
    pub(crate) start: Vec<usize>,
}

/// Verdict of a probe on a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not probed yet.
    Unknown,
    /// Healthy.
    Success,
    /// Unhealthy.
    Failure,
}

/// What probes found, by container id.
pub(crate) trait ProbeResults {
    /// Verdict of the liveness probe.
    fn liveness(&self, container_id: &str) -> Verdict;
    /// Verdict of the startup probe.
    fn startup(&self, container_id: &str) -> Verdict;
    /// Verdict of the readiness probe.
    fn readiness(&self, container_id: &str) -> Verdict;
}

/// Whether the pod needs a new sandbox, and the attempt that it would be.
fn sandbox_needed(pod: &Pod, runtime: &RuntimePod) -> (bool, u32, Option<String>) {
    let Some(latest) = runtime.sandboxes.first() else { return (true, 0, None) };
    let next = latest.attempt + 1;
    let ready = runtime.sandboxes.iter().filter(|s| s.ready).count();
    if ready > 1 || !latest.ready || latest.host_network != spec::host_network(pod) {
        return (true, next, Some(latest.id.clone()));
    }
    if !latest.host_network && latest.ips.is_empty() {
        return (true, next, Some(latest.id.clone()));
    }
    (false, latest.attempt, Some(latest.id.clone()))
}

fn succeeded(runtime: &RuntimePod, container: &Container) -> bool {
    runtime.latest(&container.name).is_some_and(|c| c.state == State::Exited && c.exit_code == 0)
}

/// Whether an ordinary container has ever run, which means that initialisation is over.
pub(crate) fn was_initialized(pod: &Pod, runtime: &RuntimePod) -> bool {
    spec::regular(pod)
        .iter()
        .any(|c| runtime.latest(&c.name).is_some_and(|status| status.state != State::Unknown))
}

/// Makes the plan.
pub(crate) fn compute(pod: &Pod, runtime: &RuntimePod, probes: &dyn ProbeResults) -> Actions {
    let (create_sandbox, attempt, sandbox_id) = sandbox_needed(pod, runtime);
    let mut actions =
        Actions { kill_pod: create_sandbox, create_sandbox, attempt, sandbox_id, ..Actions::default() };
    if create_sandbox {
        plan_new_sandbox(pod, runtime, &mut actions);
        return actions;
    }
    for (index, container) in spec::ephemeral(pod).iter().enumerate() {
        // Ephemeral containers run once, whatever becomes of them.
        if runtime.latest(&container.name).is_none() {
            actions.ephemeral.push(index);
        }
    }
    let initialized = plan_init(pod, runtime, probes, &mut actions);
    if actions.kill_pod || !initialized {
        return actions;
    }
    let kept = plan_regular(pod, runtime, probes, &mut actions);
    if kept == 0 && actions.start.is_empty() {
        // Nothing is left to run: sidecars must not keep the pod alive.
        actions.kill_pod = true;
        actions.init.clear();
        actions.ephemeral.clear();
    }
    actions
}

/// A new sandbox starts from the beginning, unless the pod has already run to its end.
fn plan_new_sandbox(pod: &Pod, runtime: &RuntimePod, actions: &mut Actions) {
    if !spec::restarts_on_failure(pod) && actions.attempt != 0 && !runtime.containers.is_empty() {
        actions.create_sandbox = false;
        return;
    }
    let on_failure = spec::restart_policy(pod) == "OnFailure";
    let start: Vec<usize> = spec::regular(pod)
        .iter()
        .enumerate()
        .filter(|(_, container)| !(on_failure && succeeded(runtime, container)))
        .map(|(index, _)| index)
        .collect();
    if start.is_empty() && was_initialized(pod, runtime) {
        actions.create_sandbox = false;
    } else if spec::init(pod).is_empty() {
        actions.start = start;
    } else {
        actions.init.push(0);
    }
}

/// What an init container's newest attempt asks for.
enum InitStep {
    /// Still at work (or waiting for its startup probe).
    Wait,
    /// Start it again.
    Restart,
    /// Stop it, then start it again.
    KillAndRestart(KillReason),
    /// Done; the next may start.
    Done,
    /// Failed for good.
    Fail,
}

fn init_step(
    pod: &Pod,
    container: &Container,
    latest: &RuntimeContainer,
    probes: &dyn ProbeResults,
) -> InitStep {
    let sidecar = spec::is_sidecar(container);
    match latest.state {
        State::Created => InitStep::Restart,
        State::Unknown => InitStep::KillAndRestart(KillReason::Unknown),
        State::Running if !sidecar => InitStep::Wait,
        State::Running => {
            if container.startup_probe.is_some() {
                match probes.startup(&latest.id) {
                    Verdict::Unknown => return InitStep::Wait,
                    Verdict::Failure => return InitStep::KillAndRestart(KillReason::Startup),
                    Verdict::Success => {}
                }
            }
            match probes.liveness(&latest.id) {
                Verdict::Failure => InitStep::KillAndRestart(KillReason::Liveness),
                _ => InitStep::Done,
            }
        }
        State::Exited if sidecar => InitStep::Restart,
        State::Exited if latest.exit_code == 0 => InitStep::Done,
        State::Exited if init_restarts(pod, container, latest.exit_code) => InitStep::Restart,
        State::Exited => InitStep::Fail,
    }
}

/// Failed init containers of a pod that restarts are tried again, also under `OnFailure`.
pub(crate) fn init_restarts(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    match container.restart_policy {
        Some(_) => spec::restarts_after(pod, container, exit_code),
        None => spec::restarts_on_failure(pod),
    }
}

/// Plans init containers and sidecars, from the last that has run backwards. Returns whether ordinary
/// containers may run.
fn plan_init(pod: &Pod, runtime: &RuntimePod, probes: &dyn ProbeResults, actions: &mut Actions) -> bool {
    let list = spec::init(pod);
    if list.is_empty() {
        return true;
    }
    // Records of init containers may be gone by now; an ordinary container that ran proves them done.
    let mut past = was_initialized(pod, runtime);
    let mut initialized = past;
    for (index, container) in list.iter().enumerate().rev() {
        let sidecar = spec::is_sidecar(container);
        let Some(latest) = runtime.latest(&container.name) else {
            if past && sidecar {
                actions.init.push(index);
            }
            continue;
        };
        if past && !sidecar {
            continue;
        }
        match init_step(pod, container, latest, probes) {
            InitStep::Wait => {}
            InitStep::Restart => actions.init.push(index),
            InitStep::KillAndRestart(reason) => {
                actions.kill.push(kill(container, latest, reason, true));
                actions.init.push(index);
            }
            InitStep::Done if past => {}
            InitStep::Done if index + 1 == list.len() => initialized = true,
            InitStep::Done => actions.init.push(index + 1),
            InitStep::Fail => {
                actions.kill_pod = true;
                actions.init.clear();
                return false;
            }
        }
        // Everything before this one has been through; only sidecars among them are kept running.
        past = true;
    }
    if !past {
        actions.init.push(0);
    }
    actions.init.reverse();
    initialized
}

fn kill(container: &Container, latest: &RuntimeContainer, reason: KillReason, restart: bool) -> Kill {
    let mut message = match reason {
        KillReason::Changed => format!("Container {} definition changed", container.name),
        KillReason::Liveness => format!("Container {} failed liveness probe", container.name),
        KillReason::Startup => format!("Container {} failed startup probe", container.name),
        KillReason::Unknown => {
            format!("Container is in {:?} state, try killing it before restart", "Unknown")
        }
    };
    if restart && reason != KillReason::Unknown {
        message.push_str(", will be restarted");
    }
    Kill { id: latest.id.clone(), name: container.name.clone(), reason, message }
}

/// Plans ordinary containers; returns how many keep running as they are.
fn plan_regular(pod: &Pod, runtime: &RuntimePod, probes: &dyn ProbeResults, actions: &mut Actions) -> usize {
    let mut kept = 0;
    for (index, container) in spec::regular(pod).iter().enumerate() {
        let latest = runtime.latest(&container.name);
        let Some(running) = latest.filter(|c| c.state == State::Running) else {
            if spec::should_start(pod, container, latest) {
                if let Some(unknown) = latest.filter(|c| c.state == State::Unknown) {
                    actions.kill.push(kill(container, unknown, KillReason::Unknown, true));
                }
                actions.start.push(index);
            }
            continue;
        };
        let reason = if running.hash != 0 && running.hash != spec::hash(container) {
            Some(KillReason::Changed)
        } else if probes.liveness(&running.id) == Verdict::Failure {
            Some(KillReason::Liveness)
        } else if probes.startup(&running.id) == Verdict::Failure {
            Some(KillReason::Startup)
        } else {
            None
        };
        let Some(reason) = reason else {
            kept += 1;
            continue;
        };
        // A changed definition asks for a restart whatever the policy; a failed probe counts as a failure.
        let restart = reason == KillReason::Changed || spec::restarts_after(pod, container, 137);
        actions.kill.push(kill(container, running, reason, restart));
        if restart {
            actions.start.push(index);
        }
    }
    kept
}
