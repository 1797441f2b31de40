//! The phase of a pod, from its specification and container statuses.
//!
//! Rule: "Pod phase" of the pod lifecycle documentation, with sidecars (KEP-753). Pure.

use crate::spec;
use api::k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod};

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub(crate) type Phase = &'static str;

#[derive(Default)]
struct Counts {
    pending_init: u32,
    pending_sidecars: u32,
    failed_init: u32,
    unknown: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    succeeded: u32,
    will_restart: u32,
}

/// The last exit code, when the container waits after having run.
fn last_exit(status: &ContainerStatus) -> Option<i32> {
    status.last_state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code)
}

fn state(status: &ContainerStatus) -> ContainerState {
    status.state.clone().unwrap_or_default()
}

impl Counts {
    fn init(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.pending_init += 1;
            return;
        };
        let now = state(status);
        let exit = now.terminated.map(|t| t.exit_code).or_else(|| now.waiting.and(last_exit(status)));
        match exit {
            Some(0) => {}
            Some(_) => self.failed_init += 1,
            None => self.pending_init += 1,
        }
    }

    fn sidecar(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.pending_sidecars += 1;
            return;
        };
        let now = state(status);
        if now.running.is_some() {
            if !status.started.unwrap_or(false) {
                self.pending_sidecars += 1;
            }
            self.running += 1;
        } else if now.terminated.is_some() {
            // Ended sidecars say nothing about the pod.
        } else if now.waiting.is_some() {
            if last_exit(status).is_none() {
                self.pending_sidecars += 1;
                self.waiting += 1;
            }
        } else {
            self.pending_sidecars += 1;
            self.unknown += 1;
        }
    }

    fn regular(&mut self, pod: &Pod, container: &Container, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        let now = state(status);
        if now.running.is_some() {
            self.running += 1;
        } else if let Some(ended) = now.terminated {
            self.stopped += 1;
            self.succeeded += u32::from(ended.exit_code == 0);
            self.will_restart += u32::from(spec::restarts_after(pod, container, ended.exit_code));
        } else if now.waiting.is_some() {
            match last_exit(status) {
                Some(code) => {
                    self.stopped += 1;
                    self.will_restart += u32::from(spec::restarts_after(pod, container, code));
                }
                None => self.waiting += 1,
            }
        } else {
            self.unknown += 1;
        }
    }
}

fn has_run(status: Option<&ContainerStatus>) -> bool {
    status.is_some_and(|status| {
        let now = state(status);
        now.running.is_some() || now.terminated.is_some() || last_exit(status).is_some()
    })
}

/// Computes the phase. `terminal` says that nothing of the pod will run again.
pub(crate) fn phase(
    pod: &Pod,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    terminal: bool,
) -> Phase {
    let find = |list: &[ContainerStatus], name: &str| list.iter().find(|s| s.name == name).cloned();
    let mut counts = Counts::default();
    for container in spec::init(pod) {
        let status = find(init, &container.name);
        if spec::is_sidecar(container) {
            counts.sidecar(status.as_ref());
        } else {
            counts.init(status.as_ref());
        }
    }
    let mut any_started = false;
    for container in spec::regular(pod) {
        let status = find(regular, &container.name);
        any_started |= has_run(status.as_ref());
        counts.regular(pod, container, status.as_ref());
    }
    decide(pod, &counts, any_started, terminal)
}

fn decide(pod: &Pod, counts: &Counts, any_started: bool, terminal: bool) -> Phase {
    if counts.failed_init > 0 && !spec::restarts_on_failure(pod) {
        return "Failed";
    }
    if counts.pending_init > 0 || (counts.pending_sidecars > 0 && !any_started) || counts.waiting > 0 {
        return "Pending";
    }
    if counts.unknown > 0 {
        return "Pending";
    }
    if counts.running > 0 {
        return "Running";
    }
    if counts.stopped == 0 {
        return "Pending";
    }
    let all_succeeded = counts.stopped == counts.succeeded;
    match (terminal, counts.will_restart > 0) {
        (false, true) => "Running",
        _ if all_succeeded => "Succeeded",
        _ => "Failed",
    }
}
