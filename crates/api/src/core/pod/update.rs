//! What an update of a pod may change: images, deadlines, added tolerations, removed gates.

use crate::common::{items, names};
use k8s_openapi::api::core::v1::*;
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

/// The fields that may change, as the message lists them.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const CONTAINERS: &str = "pod updates may not add or remove containers";

pub(super) fn validate(pod: &Pod, old: &Pod, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    let (Some(new), Some(was)) = (&pod.spec, &old.spec) else { return };
    if new.containers.len() != was.containers.len() {
        errors.forbidden(path.child("containers"), CONTAINERS);
        return;
    }
    if items(&new.init_containers).len() != items(&was.init_containers).len() {
        errors.forbidden(path.child("initContainers"), CONTAINERS);
        return;
    }
    deadline(new.active_deadline_seconds, was.active_deadline_seconds, &path, errors);
    tolerations(items(&new.tolerations), items(&was.tolerations), &path, errors);
    gates(items(&new.scheduling_gates), items(&was.scheduling_gates), &path, errors);
    let munged = munge(new, was);
    if munged != *was {
        let diff = spec_diff(old, &Pod { spec: Some(munged), ..old.clone() });
        errors.forbidden(path, format!("pod updates may not change fields other than {UPDATABLE}\n{diff}"));
    }
}

/// `new` with everything that may change put back.
fn munge(new: &PodSpec, was: &PodSpec) -> PodSpec {
    let mut munged = new.clone();
    for (container, was) in munged.containers.iter_mut().zip(&was.containers) {
        container.image.clone_from(&was.image);
    }
    for (container, was) in munged.init_containers.iter_mut().flatten().zip(items(&was.init_containers)) {
        container.image.clone_from(&was.image);
    }
    munged.active_deadline_seconds = was.active_deadline_seconds;
    munged.tolerations.clone_from(&was.tolerations);
    munged.scheduling_gates.clone_from(&was.scheduling_gates);
    // A pod that waits at a gate may still be narrowed down to fewer nodes.
    if !items(&was.scheduling_gates).is_empty() {
        let empty = Default::default();
        let (more, before) =
            (munged.node_selector.as_ref().unwrap_or(&empty), was.node_selector.as_ref().unwrap_or(&empty));
        if before.iter().all(|(key, value)| more.get(key) == Some(value)) {
            munged.node_selector.clone_from(&was.node_selector);
        }
        let unset = was.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()).is_none();
        if unset && let Some(affinity) = &mut munged.affinity {
            affinity.node_affinity = None;
            if was.affinity.is_none() && *affinity == Affinity::default() {
                munged.affinity = None;
            }
        }
    }
    if was.termination_grace_period_seconds.is_some_and(|s| s < 0)
        && munged.termination_grace_period_seconds == Some(1)
    {
        munged.termination_grace_period_seconds = was.termination_grace_period_seconds;
    }
    munged
}

fn deadline(new: Option<i64>, was: Option<i64>, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("activeDeadlineSeconds");
    match (new, was) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(at, new, names::inclusive_range(0, i64::from(i32::MAX)));
        }
        (Some(new), Some(was)) if was < new => {
            errors.invalid(at, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(at, Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

fn tolerations(new: &[Toleration], was: &[Toleration], path: &FieldPath, errors: &mut FieldErrors) {
    let without_seconds = |t: &Toleration| Toleration { toleration_seconds: None, ..t.clone() };
    for old in was {
        let old = without_seconds(old);
        if !new.iter().any(|t| without_seconds(t) == old) {
            errors.forbidden(
                path.child("tolerations"),
                "existing toleration can not be modified except its tolerationSeconds",
            );
            return;
        }
    }
}

fn gates(new: &[PodSchedulingGate], was: &[PodSchedulingGate], path: &FieldPath, errors: &mut FieldErrors) {
    for (at, gate) in new.iter().enumerate().filter(|(_, gate)| !was.contains(gate)) {
        errors.forbidden(
            path.child("schedulingGates").index(at),
            format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name),
        );
    }
}

/// What differs between two pods' specs.
pub(super) fn spec_diff(old: &Pod, new: &Pod) -> String {
    crate::common::diff::specs("core.PodSpec", old, new)
}

/// Reports what an agent may not report: a restarted container that must not restart, an IP that is none.
pub(super) fn validate_status(pod: &Pod, old: &Pod, errors: &mut FieldErrors) {
    let path = FieldPath::new("status");
    let (Some(status), Some(spec)) = (&pod.status, &old.spec) else { return };
    let empty = PodStatus::default();
    let was = old.status.as_ref().unwrap_or(&empty);
    if let Some(node) = &status.nominated_node_name
        && !node.is_empty()
    {
        names::report(path.child("nominatedNodeName"), node, names::dns1123_subdomain(node), errors);
    }
    if was.qos_class.is_some() && status.qos_class != was.qos_class {
        let qos = status.qos_class.clone().unwrap_or_default();
        errors.invalid(path.child("qosClass"), qos, "field is immutable");
    }
    for (at, ip) in items(&status.pod_ips).iter().enumerate() {
        crate::common::net::ip(&ip.ip, path.child("podIPs").index(at), errors);
    }
    if spec.restart_policy.as_deref() == Some("Always") {
        return;
    }
    // Terminated for good means terminated for good.
    for (at, now) in items(&status.container_statuses).iter().enumerate() {
        let before = items(&was.container_statuses).iter().find(|c| c.name == now.name);
        let ended = |c: &ContainerStatus| c.state.as_ref().is_some_and(|s| s.terminated.is_some());
        let may_restart = before.is_some_and(|before| {
            let code = before.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
            let own = spec.containers.iter().find(|c| c.name == now.name);
            spec.restart_policy.as_deref() == Some("OnFailure") && code != Some(0)
                || own.is_some_and(|c| c.restart_policy.is_some() || c.restart_policy_rules.is_some())
        });
        if before.is_some_and(ended) && !ended(now) && !may_restart {
            errors.forbidden(
                path.child("containerStatuses").index(at).child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}
