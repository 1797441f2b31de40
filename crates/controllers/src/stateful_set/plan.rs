//! The next steps of a StatefulSet. Ordered sets take one step at a time, in the order of ordinals up and down.

use super::identity::{labels_match, ordinal_of, pod_name, revision_of};
use crate::common::pods::{is_available, is_ready, is_terminating, phase};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Make the pod with this ordinal, from the current (`false`) or the update revision (`true`).
    Create(i32, bool),
    /// Delete a pod; a new one follows if it is still wanted.
    Delete(Arc<Pod>),
    /// Give a pod its identity's labels back.
    Restore(i32, Arc<Pod>),
    /// Make the claims of a pod that waits for them.
    Claims(i32),
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: StatefulSetStatus,
}

/// What the plan looks at.
pub(super) struct View<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) pods: &'a [Arc<Pod>],
    /// Names of the revisions.
    pub(super) current: &'a str,
    pub(super) update: &'a str,
    pub(super) now: Timestamp,
}

impl View<'_> {
    fn replicas(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn start(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0)
    }

    fn is_ordered(&self) -> bool {
        self.set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel")
    }

    fn strategy(&self) -> Option<&k8s_openapi::api::apps::v1::StatefulSetUpdateStrategy> {
        self.set.spec.as_ref()?.update_strategy.as_ref()
    }

    fn is_on_delete(&self) -> bool {
        self.strategy().and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    fn partition(&self) -> i32 {
        self.strategy().and_then(|strategy| strategy.rolling_update.as_ref()?.partition).unwrap_or(0)
    }

    fn min_ready(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    /// Runs, is ready for long enough and is not on its way out.
    fn is_healthy(&self, pod: &Pod) -> bool {
        phase(pod) == "Running" && !is_terminating(pod) && is_available(pod, self.min_ready(), self.now)
    }

    /// Whether a new pod with this ordinal comes from the update revision.
    fn wants_update(&self, ordinal: i32) -> bool {
        if self.current == self.update {
            return true;
        }
        if self.is_on_delete() {
            return true;
        }
        ordinal >= self.start() + self.partition()
    }
}

/// Decides.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan { steps: Vec::new(), status: status(view) };
    if view.set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let (start, end) = (view.start(), view.start() + view.replicas());
    let mut wanted: BTreeMap<i32, &Arc<Pod>> = BTreeMap::new();
    let mut condemned: Vec<(i32, &Arc<Pod>)> = Vec::new();
    for pod in view.pods {
        match ordinal_of(view.set, pod) {
            Some(ordinal) if (start..end).contains(&ordinal) => {
                wanted.insert(ordinal, pod);
            }
            Some(ordinal) => condemned.push((ordinal, pod)),
            None => {}
        }
    }
    condemned.sort_by_key(|(ordinal, _)| -ordinal);
    if scale_up(view, start..end, &wanted, &mut plan.steps)
        && scale_down(view, &wanted, &condemned, &mut plan.steps)
        && !view.is_on_delete()
    {
        roll(view, start..end, &wanted, &mut plan.steps);
    }
    plan
}

/// Fills gaps from below. Answers whether the next phase may begin.
fn scale_up(
    view: &View<'_>,
    ordinals: std::ops::Range<i32>,
    wanted: &BTreeMap<i32, &Arc<Pod>>,
    steps: &mut Vec<Step>,
) -> bool {
    let ordered = view.is_ordered();
    for ordinal in ordinals {
        let Some(pod) = wanted.get(&ordinal) else {
            steps.push(Step::Create(ordinal, view.wants_update(ordinal)));
            if ordered {
                return false;
            }
            continue;
        };
        if matches!(phase(pod), "Failed" | "Succeeded") {
            if !is_terminating(pod) {
                steps.push(Step::Delete(Arc::clone(pod)));
            }
            if ordered {
                return false;
            }
            continue;
        }
        if phase(pod) == "Pending" && !is_terminating(pod) {
            steps.push(Step::Claims(ordinal));
        }
        if !labels_match(view.set, ordinal, pod) && !is_terminating(pod) {
            steps.push(Step::Restore(ordinal, Arc::clone(pod)));
        }
        if ordered && !view.is_healthy(pod) {
            return false;
        }
    }
    true
}

/// Removes pods beyond the range from above. Answers whether the next phase may begin.
fn scale_down(
    view: &View<'_>,
    wanted: &BTreeMap<i32, &Arc<Pod>>,
    condemned: &[(i32, &Arc<Pod>)],
    steps: &mut Vec<Step>,
) -> bool {
    let ordered = view.is_ordered();
    // A pod that is not healthy may go itself, but no other before it.
    let unhealthy = |(_, pod): &(i32, &Arc<Pod>)| !view.is_healthy(pod);
    let first_unhealthy = wanted
        .iter()
        .map(|(ordinal, pod)| (*ordinal, *pod))
        .chain(condemned.iter().rev().copied())
        .find(unhealthy)
        .map(|(ordinal, _)| ordinal);
    for (ordinal, pod) in condemned {
        if is_terminating(pod) {
            if ordered {
                return false;
            }
            continue;
        }
        if ordered && !view.is_healthy(pod) && first_unhealthy != Some(*ordinal) {
            return false;
        }
        steps.push(Step::Delete(Arc::clone(pod)));
        if ordered {
            return false;
        }
    }
    true
}

/// Replaces pods of another revision from above, down to the partition, one at a time.
fn roll(
    view: &View<'_>,
    ordinals: std::ops::Range<i32>,
    wanted: &BTreeMap<i32, &Arc<Pod>>,
    steps: &mut Vec<Step>,
) {
    let lowest = ordinals.start + view.partition();
    for ordinal in ordinals.rev().take_while(|ordinal| *ordinal >= lowest) {
        let Some(pod) = wanted.get(&ordinal) else { return };
        if revision_of(pod) != view.update && !is_terminating(pod) {
            steps.push(Step::Delete(Arc::clone(pod)));
            return;
        }
        if !view.is_healthy(pod) {
            return;
        }
    }
}

fn status(view: &View<'_>) -> StatefulSetStatus {
    let old = view.set.status.clone().unwrap_or_default();
    let mut status = StatefulSetStatus {
        observed_generation: view.set.metadata.generation,
        current_revision: Some(view.current.to_owned()),
        update_revision: Some(view.update.to_owned()),
        collision_count: old.collision_count,
        conditions: old.conditions,
        ..StatefulSetStatus::default()
    };
    let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
    for pod in view.pods.iter().filter(|pod| ordinal_of(view.set, pod).is_some()) {
        status.replicas += 1;
        if phase(pod) == "Running" && is_ready(pod) {
            ready += 1;
            available += i32::from(is_available(pod, view.min_ready(), view.now));
        }
        if !is_terminating(pod) {
            current += i32::from(revision_of(pod) == view.current);
            updated += i32::from(revision_of(pod) == view.update);
        }
    }
    let complete = !view.is_on_delete() && updated == status.replicas && ready == status.replicas;
    if complete && view.current != view.update {
        current = updated;
        status.current_revision = status.update_revision.clone();
    }
    let nonzero = |count: i32| (count != 0).then_some(count);
    status.ready_replicas = nonzero(ready);
    status.available_replicas = Some(available);
    status.current_replicas = nonzero(current);
    status.updated_replicas = nonzero(updated);
    status
}

/// Names of the wanted pods.
pub(super) fn wanted_names(set: &StatefulSet) -> Vec<String> {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0);
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    (start..start + replicas).map(|ordinal| pod_name(set, ordinal)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSetSpec;

    fn set(replicas: i32, parallel: bool, partition: i32) -> StatefulSet {
        let mut set = StatefulSet::default();
        set.metadata.name = Some("db".to_owned());
        let json = serde_json::json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
            "selector": {}, "template": {},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
        }});
        let parsed: StatefulSet = api::Kind::from_json(json.to_string().as_bytes()).unwrap();
        set.spec = Some(StatefulSetSpec {
            replicas: Some(replicas),
            pod_management_policy: parallel.then(|| "Parallel".to_owned()),
            ..parsed.spec.unwrap()
        });
        set
    }

    fn pod(set: &StatefulSet, ordinal: i32, revision: &str, ready: bool) -> Arc<Pod> {
        let name = pod_name(set, ordinal);
        let mut pod = Pod::clone(&crate::common::testing::pod(&name, "Running", ready, 1));
        let template = k8s_openapi::api::core::v1::PodTemplateSpec::default();
        pod.metadata.labels = super::super::identity::pod(set, &template, revision, ordinal).metadata.labels;
        Arc::new(pod)
    }

    /// `+n` creates (from the update revision), `=n` creates from the current one, `-n` deletes.
    fn steps(set: &StatefulSet, pods: &[Arc<Pod>], current: &str) -> Vec<String> {
        let now = Timestamp::from_second(1000).unwrap();
        let plan = plan(&View { set, pods, current, update: "new", now });
        let text = |step: &Step| match step {
            Step::Create(ordinal, true) => format!("+{ordinal}"),
            Step::Create(ordinal, false) => format!("={ordinal}"),
            Step::Delete(pod) => format!("-{}", ordinal_of(set, pod).unwrap()),
            other => format!("{other:?}"),
        };
        plan.steps.iter().map(text).collect()
    }

    #[test]
    fn ordered_sets_go_one_by_one() {
        let three = set(3, false, 0);
        assert_eq!(steps(&three, &[], "new"), ["+0"]);
        assert!(steps(&three, &[pod(&three, 0, "new", false)], "new").is_empty());
        assert_eq!(steps(&three, &[pod(&three, 0, "new", true)], "new"), ["+1"]);
        let pods: Vec<_> = (0..3).map(|n| pod(&three, n, "new", true)).collect();
        assert_eq!(steps(&set(1, false, 0), &pods, "new"), ["-2"]);
        let mut sick = pods.clone();
        sick[0] = pod(&three, 0, "new", false);
        assert!(steps(&set(1, false, 0), &sick, "new").is_empty());
    }

    #[test]
    fn parallel_sets_do_all_at_once() {
        assert_eq!(steps(&set(3, true, 0), &[], "new"), ["+0", "+1", "+2"]);
        let three = set(3, true, 0);
        let pods: Vec<_> = (0..3).map(|n| pod(&three, n, "new", false)).collect();
        assert_eq!(steps(&set(1, true, 0), &pods, "new"), ["-2", "-1"]);
    }

    #[test]
    fn updates_go_from_above_to_the_partition() {
        let three = set(3, false, 0);
        let mut pods: Vec<_> = (0..3).map(|n| pod(&three, n, "old", true)).collect();
        assert_eq!(steps(&three, &pods, "old"), ["-2"]);
        pods[2] = pod(&three, 2, "new", false);
        assert!(steps(&three, &pods, "old").is_empty());
        pods[2] = pod(&three, 2, "new", true);
        assert_eq!(steps(&three, &pods, "old"), ["-1"]);
        assert!(steps(&set(3, false, 2), &pods, "old").is_empty());
        // Below the partition a lost pod comes back as it was.
        assert_eq!(steps(&set(3, false, 2), &pods[1..], "old"), ["=0"]);
    }
}
