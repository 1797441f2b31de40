//! Reading pods: active, ready, available, and in which order to delete them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The phase, empty when unset.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

/// Whether the pod has run to its end.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is being deleted.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts towards replicas.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// The condition of a type.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Whether the pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// When the pod became ready.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c.status == "True")?.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether the pod has been ready for `min_ready` seconds; if not yet, how long it still takes.
pub(crate) fn availability(pod: &Pod, min_ready: i32, now: Timestamp) -> Result<(), Option<Duration>> {
    if !is_ready(pod) {
        return Err(None);
    }
    if min_ready <= 0 {
        return Ok(());
    }
    let Some(since) = ready_since(pod) else { return Err(None) };
    let left = since.as_second() + i64::from(min_ready) - now.as_second();
    match u64::try_from(left) {
        Ok(seconds) if seconds > 0 => Err(Some(Duration::from_secs(seconds))),
        _ => Ok(()),
    }
}

/// Whether the pod has been ready for `min_ready` seconds.
pub(crate) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    availability(pod, min_ready, now).is_ok()
}

/// The node, empty when unscheduled.
pub(crate) fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"))
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let count = |all: &Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
        all.iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
    };
    status.map_or(0, |status| count(&status.container_statuses).max(count(&status.init_container_statuses)))
}

/// Ages are compared by their logarithm (KEP-2185), so that pods of about the same age are chosen at random, by UID.
fn logarithmic_age(since: Option<&Time>, now: Timestamp) -> u32 {
    let seconds = since.map_or(0, |time| now.as_second() - time.0.as_second());
    u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_ilog2()).map_or(0, |log| log + 1)
}

/// The pods in the order in which a scale-down deletes them. `related` counts active pods of the same workload per node,
/// so that doubled-up pods go first.
pub(crate) fn deletion_order(
    mut pods: Vec<Arc<Pod>>,
    related: &HashMap<String, usize>,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let phase_rank = |pod: &Pod| match phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let rank = |pod: &Pod| related.get(node_of(pod)).copied().unwrap_or(0);
    pods.sort_by(|a, b| {
        let ready_time = |pod: &Pod| ready_since(pod).map(Time);
        (!node_of(a).is_empty())
            .cmp(&!node_of(b).is_empty())
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| is_ready(a).cmp(&is_ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| rank(b).cmp(&rank(a)))
            .then_with(|| {
                if is_ready(a) && is_ready(b) {
                    logarithmic_age(ready_time(a).as_ref(), now)
                        .cmp(&logarithmic_age(ready_time(b).as_ref(), now))
                } else {
                    Ordering::Equal
                }
            })
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| {
                let age = |pod: &Pod| logarithmic_age(pod.metadata.creation_timestamp.as_ref(), now);
                age(a).cmp(&age(b))
            })
            .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
    });
    pods
}

/// A pod from a template, without a name.
pub(crate) fn from_template(template: &PodTemplateSpec) -> Pod {
    let mut pod = Pod { spec: template.spec.clone(), ..Pod::default() };
    let meta = template.metadata.clone().unwrap_or_default();
    pod.metadata.labels = meta.labels;
    pod.metadata.annotations = meta.annotations;
    pod.metadata.finalizers = meta.finalizers;
    pod
}

/// Name of the index of pods by what controls them.
pub(crate) const CONTROLLER_INDEX: &str = "controller";

/// Declares the index that [`candidates`] reads.
pub(crate) fn index(informer: &client::Informer<Pod>) {
    informer.add_index(CONTROLLER_INDEX, |pod| {
        let meta = &pod.metadata;
        vec![match super::owners::controller_of(meta) {
            Some(owner) => owner.uid.clone(),
            None => format!("orphan/{}", meta.namespace.as_deref().unwrap_or("")),
        }]
    });
}

/// The pods that the owner with `uid` controls, and those of its namespace that nobody does.
pub(crate) fn candidates(informer: &client::Informer<Pod>, namespace: &str, uid: &str) -> Vec<Arc<Pod>> {
    let mut found = informer.store().by_index(CONTROLLER_INDEX, uid);
    found.extend(informer.store().by_index(CONTROLLER_INDEX, &format!("orphan/{namespace}")));
    found
}
