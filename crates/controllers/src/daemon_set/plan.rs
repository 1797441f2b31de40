//! Which nodes lack a daemon pod and which daemon pods have to go.

use crate::common::pods::{is_available, is_ready, is_terminating, node_of, phase};
use crate::common::scheduling::{fits, tolerates};
use api::common::int_or_percent::scaled;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes to make a pod for.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods to delete because they ended.
    pub(super) ended: Vec<Arc<Pod>>,
    pub(super) status: DaemonSetStatus,
}

/// What the plan looks at.
pub(super) struct View<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) pods: &'a [Arc<Pod>],
    /// Hash of the current template.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

/// Taints that daemon pods always tolerate.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The spec of a daemon pod, not yet bound to a node.
fn daemon_spec(set: &DaemonSet) -> PodSpec {
    let mut spec = set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    let network = (spec.host_network == Some(true)).then_some(NETWORK);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let is_there = |known: &Toleration| {
            known.key.as_deref() == Some(key)
                && known.effect.as_deref() == Some(effect)
                && known.operator.as_deref() == Some("Exists")
                && known.toleration_seconds.is_none()
        };
        if !tolerations.iter().any(is_there) {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some(effect.to_owned()),
                ..Toleration::default()
            });
        }
    }
    spec
}

/// The spec of a daemon pod for `node`: node affinity by name replaces the template's, which was checked already.
pub(super) fn pod_spec(set: &DaemonSet, node: &str) -> PodSpec {
    let mut spec = daemon_spec(set);
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    spec
}

/// The node that a daemon pod is for, whether it is bound already or not.
pub(super) fn target_of(pod: &Pod) -> Option<&str> {
    if !node_of(pod).is_empty() {
        return Some(node_of(pod));
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    names.find_map(|field| field.values.as_ref()?.first().map(String::as_str))
}

/// Whether a pod should be started on the node, and whether one that runs there may stay.
fn verdict(spec: &PodSpec, node: &Node) -> (bool, bool) {
    if !fits(spec, node) {
        return (false, false);
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let untolerated =
        taints.filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)));
    let (mut run, mut stay) = (true, true);
    for taint in untolerated {
        match taint.effect.as_str() {
            "NoExecute" => (run, stay) = (false, false),
            "NoSchedule" => run = false,
            _ => {}
        }
    }
    (run, stay)
}

fn is_current(pod: &Pod, hash: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(crate::common::revisions::HASH_LABEL)).map(String::as_str)
        == Some(hash)
}

/// Decides.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let spec = daemon_spec(view.set);
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in view.pods {
        if let Some(node) = target_of(pod) {
            by_node.entry(node).or_default().push(pod);
        }
    }
    let surge = surge(view);
    let mut plan = Plan { status: status(view, &spec, &by_node), ..Plan::default() };
    for node in view.nodes {
        let name = node.metadata.name.as_deref().unwrap_or("");
        let (run, stay) = verdict(&spec, node);
        let pods = by_node.get(name).map(Vec::as_slice).unwrap_or_default();
        plan_node(view, name, (run, stay), pods, surge > 0, &mut plan);
    }
    let strategy = view.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolls = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
    // One thing at a time: rolling starts when every node has its pod.
    if rolls && plan.create.is_empty() && plan.delete.is_empty() && plan.ended.is_empty() {
        if surge > 0 {
            roll_with_surge(view, &by_node, surge, &mut plan);
        } else {
            roll(view, &by_node, &mut plan);
        }
    }
    plan
}

fn plan_node(
    view: &View<'_>,
    node: &str,
    (run, stay): (bool, bool),
    pods: &[&Arc<Pod>],
    surges: bool,
    plan: &mut Plan,
) {
    let present: Vec<_> = pods.iter().filter(|pod| !is_terminating(pod)).collect();
    if !stay {
        plan.delete.extend(present.into_iter().map(|pod| Arc::clone(pod)));
        return;
    }
    let (ended, mut live): (Vec<_>, Vec<_>) =
        present.into_iter().partition(|pod| matches!(phase(pod), "Failed" | "Succeeded"));
    let has_ended = !ended.is_empty();
    plan.ended.extend(ended.into_iter().map(Arc::clone));
    if live.is_empty() {
        // A pod that is on its way out still holds its place: ports and the like.
        let is_empty = pods.iter().all(|pod| matches!(phase(pod), "Failed" | "Succeeded"));
        if run && !has_ended && is_empty {
            plan.create.push(node.to_owned());
        }
        return;
    }
    // One pod stays: the oldest; with surge one of each template.
    live.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let mut kept: HashSet<bool> = HashSet::new();
    for pod in live {
        let class = surges && is_current(pod, view.hash);
        if !kept.insert(class) {
            plan.delete.push(Arc::clone(pod));
        }
    }
}

fn desired_number(view: &View<'_>) -> i32 {
    let spec = daemon_spec(view.set);
    count(view.nodes.iter().filter(|node| verdict(&spec, node).0).count())
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn rolling(view: &View<'_>) -> Option<k8s_openapi::api::apps::v1::RollingUpdateDaemonSet> {
    view.set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.clone()
}

fn surge(view: &View<'_>) -> i32 {
    let surge = rolling(view).and_then(|rolling| rolling.max_surge);
    surge.and_then(|surge| scaled(&surge, desired_number(view), true)).unwrap_or(0)
}

fn max_unavailable(view: &View<'_>) -> i32 {
    let max = rolling(view).and_then(|rolling| rolling.max_unavailable);
    max.and_then(|max| scaled(&max, desired_number(view), true)).unwrap_or(1)
}

fn min_ready(view: &View<'_>) -> i32 {
    view.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// Deletes old pods, as many as may be unavailable; those that serve nobody anyway at once.
fn roll(view: &View<'_>, by_node: &BTreeMap<&str, Vec<&Arc<Pod>>>, plan: &mut Plan) {
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for pods in by_node.values() {
        let new = pods.iter().find(|pod| is_current(pod, view.hash) && !is_terminating(pod));
        let old = pods.iter().find(|pod| !is_current(pod, view.hash) && !is_terminating(pod));
        match (new, old) {
            (Some(new), _) => unavailable += i32::from(!is_available(new, min_ready(view), view.now)),
            (None, Some(old)) if !is_available(old, min_ready(view), view.now) => {
                plan.delete.push(Arc::clone(old));
                unavailable += 1;
            }
            (None, Some(old)) => candidates.push(Arc::clone(old)),
            (None, None) => unavailable += 1,
        }
    }
    let room = usize::try_from(max_unavailable(view) - unavailable).unwrap_or(0);
    plan.delete.extend(candidates.into_iter().take(room));
}

/// Makes new pods beside old ones, and deletes old ones whose successor is available.
fn roll_with_surge(view: &View<'_>, by_node: &BTreeMap<&str, Vec<&Arc<Pod>>>, surge: i32, plan: &mut Plan) {
    let (mut surging, mut candidates) = (0, Vec::new());
    for (node, pods) in by_node {
        let new = pods.iter().find(|pod| is_current(pod, view.hash) && !is_terminating(pod));
        let Some(old) = pods.iter().find(|pod| !is_current(pod, view.hash) && !is_terminating(pod)) else {
            continue;
        };
        match new {
            Some(new) if is_available(new, min_ready(view), view.now) => plan.delete.push(Arc::clone(old)),
            Some(_) => surging += 1,
            None if !is_available(old, min_ready(view), view.now) => plan.create.push((*node).to_owned()),
            None => candidates.push((*node).to_owned()),
        }
    }
    let room = usize::try_from(surge - surging).unwrap_or(0);
    plan.create.extend(candidates.into_iter().take(room));
}

fn status(view: &View<'_>, spec: &PodSpec, by_node: &BTreeMap<&str, Vec<&Arc<Pod>>>) -> DaemonSetStatus {
    let old = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions,
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for node in view.nodes {
        let (run, _) = verdict(spec, node);
        let pods =
            by_node.get(node.metadata.name.as_deref().unwrap_or("")).map(Vec::as_slice).unwrap_or_default();
        if !run {
            status.number_misscheduled += i32::from(!pods.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        let oldest =
            pods.iter().min_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        if oldest.is_none() {
            continue;
        }
        status.current_number_scheduled += 1;
        let ready = pods.iter().find(|pod| is_ready(pod) && !is_terminating(pod));
        status.number_ready += i32::from(ready.is_some());
        available += i32::from(ready.is_some_and(|pod| is_available(pod, min_ready(view), view.now)));
        updated += i32::from(pods.iter().any(|pod| is_current(pod, view.hash) && !is_terminating(pod)));
    }
    let nonzero = |count: i32| (count != 0).then_some(count);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{pod, template};
    use k8s_openapi::api::apps::v1::DaemonSetSpec;
    use k8s_openapi::api::core::v1::Taint;

    fn node(name: &str, taint: Option<(&str, &str)>) -> Arc<Node> {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        node.spec.get_or_insert_default().taints = taint.map(|(key, effect)| {
            vec![Taint { key: key.to_owned(), effect: effect.to_owned(), ..Taint::default() }]
        });
        Arc::new(node)
    }

    fn daemon(node: &str, hash: &str, ready: bool) -> Arc<Pod> {
        let mut pod = Pod::clone(&pod(&format!("{node}-{hash}"), "Running", ready, 1));
        pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        pod.metadata.labels = Some([("controller-revision-hash".to_owned(), hash.to_owned())].into());
        Arc::new(pod)
    }

    fn decide(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>, DaemonSetStatus) {
        let set = DaemonSet {
            spec: Some(DaemonSetSpec { template: template("d"), ..DaemonSetSpec::default() }),
            ..DaemonSet::default()
        };
        let now = Timestamp::from_second(1000).unwrap();
        let plan = plan(&View { set: &set, nodes, pods, hash: "new", now });
        let deleted = plan.delete.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        (plan.create, deleted, plan.status)
    }

    #[test]
    fn taints_decide_where_daemons_run() {
        let nodes = [
            node("plain", None),
            node("cordoned", Some(("node.kubernetes.io/unschedulable", "NoSchedule"))),
            node("reserved", Some(("mine", "NoSchedule"))),
            node("drained", Some(("mine", "NoExecute"))),
        ];
        let pods = [daemon("reserved", "new", true), daemon("drained", "new", true)];
        let (create, delete, status) = decide(&nodes, &pods);
        assert_eq!(create, ["plain", "cordoned"]);
        assert_eq!(delete, ["drained-new"]);
        assert_eq!((status.desired_number_scheduled, status.number_misscheduled), (2, 2));
    }

    #[test]
    fn an_update_takes_one_node_after_the_other() {
        let nodes = [node("a", None), node("b", None), node("c", None)];
        let all_old = [daemon("a", "old", true), daemon("b", "old", true), daemon("c", "old", true)];
        assert_eq!(decide(&nodes, &all_old).1, ["a-old"]);
        let starting = [daemon("a", "new", false), daemon("b", "old", true), daemon("c", "old", true)];
        assert!(decide(&nodes, &starting).1.is_empty());
        let broken = [daemon("a", "new", false), daemon("b", "old", false), daemon("c", "old", true)];
        assert_eq!(decide(&nodes, &broken).1, ["b-old"]);
        let next = [daemon("a", "new", true), daemon("b", "old", true), daemon("c", "old", true)];
        let (_, delete, status) = decide(&nodes, &next);
        assert_eq!((delete, status.updated_number_scheduled), (vec!["b-old".to_owned()], Some(1)));
    }

    #[test]
    fn pods_name_their_node_before_they_are_bound() {
        let set = DaemonSet::default();
        let pod = Pod { spec: Some(pod_spec(&set, "a")), ..Pod::default() };
        assert_eq!(target_of(&pod), Some("a"));
    }
}
