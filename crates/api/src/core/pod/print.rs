//! A pod's row: readiness, the one word that sums up its state, restarts.

use crate::common::conditions::{find, is_true};
use crate::common::{items, text};
use crate::resource::{Column, age, age_cell, name_cell};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Ready", "string", "Containers that are ready, of all that run."),
        Column::new("Status", "string", "What the pod's containers are doing, in one word."),
        Column::new("Restarts", "string", "How often containers were restarted, and when last."),
        Column::age(),
        Column::new("IP", "string", "Address of the pod.").wide(),
        Column::new("Node", "string", "Node on which the pod runs.").wide(),
        Column::new("Nominated Node", "string", "Node on which room is being made for the pod.").wide(),
        Column::new("Readiness Gates", "string", "Readiness gates that are true, of all.").wide(),
    ]
}

pub(super) fn cells(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let summary = Summary::of(pod, status);
    let restarts = match summary.restarts.last {
        Some(last) if summary.restarts.count != 0 => {
            format!("{} ({} ago)", summary.restarts.count, age(Some(last), now))
        }
        _ => summary.restarts.count.to_string(),
    };
    let none = |value: &str| if value.is_empty() { "<none>".to_owned() } else { value.to_owned() };
    let ip = items(&status.pod_ips).first().map_or(text(&status.pod_ip), |ip| &ip.ip);
    let node = pod.spec.as_ref().map(|spec| text(&spec.node_name)).unwrap_or_default();
    vec![
        name_cell(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age_cell(pod, now),
        json!(none(ip)),
        json!(none(node)),
        json!(none(text(&status.nominated_node_name))),
        json!(readiness_gates(pod, status)),
    ]
}

fn readiness_gates(pod: &Pod, status: &PodStatus) -> String {
    let gates = pod.spec.as_ref().map(|spec| items(&spec.readiness_gates)).unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let done = gates.iter().filter(|gate| is_true(&status.conditions, &gate.condition_type)).count();
    format!("{done}/{}", gates.len())
}

/// Restarts of some containers.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i32,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += container.restart_count;
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        self.last = self.last.max(ended.and_then(|ended| ended.finished_at.as_ref()).map(|t| t.0));
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// How a container ended, in a word.
fn ending(end: &ContainerStateTerminated) -> String {
    match (text(&end.reason), end.signal.unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", end.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

impl Summary {
    fn of(pod: &Pod, status: &PodStatus) -> Self {
        let spec = pod.spec.as_ref();
        let init = spec.map(|spec| items(&spec.init_containers)).unwrap_or_default();
        let containers = spec.map_or(0, |spec| spec.containers.len());
        let phase = text(&status.phase);
        let mut summary = Self {
            ready: 0,
            total: containers + init.iter().filter(|c| is_sidecar(c)).count(),
            reason: if text(&status.reason).is_empty() { phase } else { text(&status.reason) }.to_owned(),
            restarts: Restarts::default(),
        };
        let scheduled = find(&status.conditions, "PodScheduled");
        if scheduled.is_some_and(|c| c.reason.as_deref() == Some("SchedulingGated")) {
            summary.reason = "SchedulingGated".to_owned();
        }
        let (initializing, sidecars) = summary.add_init(init, status);
        if !initializing || is_true(&status.conditions, "Initialized") {
            summary.restarts = sidecars;
            summary.add_containers(status);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            if text(&status.reason) == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !["Failed", "Succeeded"].contains(&phase) {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Counts init containers up to the one that is not done. Tells whether there is one, and the restarts
    /// of sidecars.
    fn add_init(&mut self, init: &[Container], status: &PodStatus) -> (bool, Restarts) {
        let mut sidecars = Restarts::default();
        for (at, container) in items(&status.init_container_statuses).iter().enumerate() {
            self.restarts.add(container);
            let sidecar = init.iter().any(|c| c.name == container.name && is_sidecar(c));
            if sidecar {
                sidecars.add(container);
            }
            let state = container.state.as_ref();
            let ended = state.and_then(|state| state.terminated.as_ref());
            let waiting = state.and_then(|state| state.waiting.as_ref()).map(|w| text(&w.reason));
            match (ended, waiting) {
                (Some(end), _) if end.exit_code == 0 => continue,
                _ if sidecar && container.started == Some(true) => {
                    self.ready += usize::from(container.ready);
                    continue;
                }
                (Some(end), _) => self.reason = format!("Init:{}", ending(end)),
                (None, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => {
                    self.reason = format!("Init:{reason}");
                }
                _ => self.reason = format!("Init:{at}/{}", init.len()),
            }
            return (true, sidecars);
        }
        (false, sidecars)
    }

    fn add_containers(&mut self, status: &PodStatus) {
        let mut running = false;
        for container in items(&status.container_statuses).iter().rev() {
            self.restarts.add(container);
            let state = container.state.as_ref();
            let waiting = state.and_then(|s| s.waiting.as_ref()).map(|w| text(&w.reason)).unwrap_or_default();
            let ended = state.and_then(|s| s.terminated.as_ref());
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(end) = ended {
                self.reason = ending(end);
            } else if container.ready && state.is_some_and(|s| s.running.is_some()) {
                running = true;
                self.ready += 1;
            }
        }
        // One container that still runs outweighs those that completed.
        if self.reason == "Completed" && running {
            let ready = is_true(&status.conditions, "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}
