//! The pod conditions that the kubelet owns, with upstream's reasons and messages. Pure.

use crate::spec;
use api::k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Condition types that only the kubelet writes.
const OWNED: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];
/// Says that a pod was ended from outside (KEP-3329). Others write it too: only with our reason is it ours.
const DISRUPTED: &str = "DisruptionTarget";
const BY_KUBELET: &str = "TerminationByKubelet";

/// Whether a condition of this type and reason is the kubelet's to write and to remove.
pub(crate) fn is_own(kind: &str, reason: &str) -> bool {
    OWNED.contains(&kind) || kind == DISRUPTED && reason == BY_KUBELET
}

/// Adds the condition of a pod that the kubelet ends, unless it has one.
pub(crate) fn disrupted(list: &mut Vec<PodCondition>, message: &str, generation: Option<i64>, now: &Time) {
    if list.iter().any(|c| c.type_ == DISRUPTED && c.status == "True") {
        return;
    }
    list.retain(|c| c.type_ != DISRUPTED);
    list.push(PodCondition {
        observed_generation: generation,
        last_transition_time: Some(now.clone()),
        ..condition(DISRUPTED, true, BY_KUBELET, message.to_owned())
    });
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        message: (!message.is_empty()).then_some(message),
        ..PodCondition::default()
    }
}

/// Names of the containers without a status, and of those whose status fails `good`.
fn sort_out<'a>(
    names: impl Iterator<Item = &'a str>,
    statuses: &[ContainerStatus],
    good: impl Fn(&ContainerStatus) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut unknown = Vec::new();
    let mut bad = Vec::new();
    for name in names {
        match statuses.iter().find(|s| s.name == name) {
            None => unknown.push(name),
            Some(status) if !good(status) => bad.push(name),
            Some(_) => {}
        }
    }
    (unknown, bad)
}

fn words(unknown: &[&str], bad: &[&str], what: &str) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !bad.is_empty() {
        parts.push(format!("containers with {what} status: [{}]", bad.join(" ")));
    }
    parts.join(", ")
}

fn containers_ready(
    pod: &Pod,
    phase: &str,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> PodCondition {
    let (mut unknown, mut bad) = sort_out(
        spec::init(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| c.name.as_str()),
        init,
        |s| s.ready,
    );
    let (more_unknown, more_bad) =
        sort_out(spec::regular(pod).iter().map(|c| c.name.as_str()), regular, |s| s.ready);
    unknown.extend(more_unknown);
    bad.extend(more_bad);
    match phase {
        "Succeeded" if unknown.is_empty() => {
            return condition("ContainersReady", false, "PodCompleted", String::new());
        }
        "Failed" if unknown.is_empty() => {
            return condition("ContainersReady", false, "PodFailed", String::new());
        }
        _ => {}
    }
    let message = words(&unknown, &bad, "unready");
    if message.is_empty() {
        condition("ContainersReady", true, "", message)
    } else {
        condition("ContainersReady", false, "ContainersNotReady", message)
    }
}

fn ready(pod: &Pod, conditions: &[PodCondition], containers: &PodCondition) -> PodCondition {
    if containers.status != "True" {
        return PodCondition { type_: "Ready".to_owned(), ..containers.clone() };
    }
    let mut missing = Vec::new();
    let gates = pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    for gate in gates {
        match conditions.iter().find(|c| c.type_ == gate.condition_type) {
            None => missing.push(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
            Some(c) if c.status != "True" => missing.push(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, c.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        condition("Ready", true, "", String::new())
    } else {
        condition("Ready", false, "ReadinessGatesNotReady", missing.join(", "))
    }
}

fn initialized(
    pod: &Pod,
    phase: &str,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> PodCondition {
    let started = regular.iter().any(|s| {
        let ran = |state: Option<&api::k8s_openapi::api::core::v1::ContainerState>| {
            state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
        };
        ran(s.state.as_ref()) || ran(s.last_state.as_ref())
    });
    if phase == "Succeeded" {
        return condition("Initialized", true, "PodCompleted", String::new());
    }
    if started || spec::init(pod).is_empty() {
        return condition("Initialized", true, "", String::new());
    }
    let done = |status: &ContainerStatus| {
        let sidecar = spec::init(pod).iter().any(|c| c.name == status.name && spec::is_sidecar(c));
        if sidecar { status.started.unwrap_or(false) } else { status.ready }
    };
    let (unknown, bad) = sort_out(spec::init(pod).iter().map(|c| c.name.as_str()), init, done);
    let message = words(&unknown, &bad, "incomplete");
    if message.is_empty() {
        condition("Initialized", true, "", message)
    } else {
        condition("Initialized", false, "ContainersNotInitialized", message)
    }
}

/// Builds the kubelet's conditions and keeps the others. Transition times move only when a status changes.
pub(crate) fn build(
    pod: &Pod,
    old: &[PodCondition],
    phase: &str,
    sandbox_up: bool,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    now: Time,
) -> Vec<PodCondition> {
    let containers = containers_ready(pod, phase, init, regular);
    let mut fresh = vec![
        condition("PodReadyToStartContainers", sandbox_up, "", String::new()),
        initialized(pod, phase, init, regular),
        ready(pod, old, &containers),
        containers,
        condition("PodScheduled", true, "", String::new()),
    ];
    for condition in &mut fresh {
        condition.observed_generation = pod.metadata.generation;
        let before = old.iter().find(|o| o.type_ == condition.type_ && o.status == condition.status);
        condition.last_transition_time =
            before.and_then(|o| o.last_transition_time.clone()).or_else(|| Some(now.clone()));
    }
    fresh.extend(old.iter().filter(|o| !OWNED.contains(&o.type_.as_str())).cloned());
    fresh
}
