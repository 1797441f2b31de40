//! What a silent node's conditions and taints should be.

use client::time::seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};

/// The conditions that a kubelet keeps up to date.
const KEPT: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that, when `True`, become taints.
const TAINTING: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// The status of a condition; `None` when it was never posted.
pub(super) fn status_of<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    condition(node, kind).map(|condition| condition.status.as_str())
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// The conditions of a node that has been silent for too long; `None` when they are so already.
pub(super) fn silent_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for kind in KEPT {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => {
                changed = true;
                conditions.push(NodeCondition {
                    type_: kind.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(seconds(now)),
                });
            }
            Some(known) if known.status != "Unknown" => {
                changed = true;
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(seconds(now));
            }
            Some(_) => {}
        }
    }
    changed.then_some(conditions)
}

fn is_ours(taint: &Taint) -> bool {
    let scheduling = taint.effect == "NoSchedule"
        && (TAINTING.iter().any(|(_, key)| taint.key == *key)
            || [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str()));
    scheduling || (taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
}

/// The taints that the conditions ask for. `evict` says whether pods may be evicted now; taints that evict already stay
/// in any case. `None` when they are so already.
pub(super) fn taints(node: &Node, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let trouble = match status_of(node, "Ready") {
        Some("True") => None,
        Some("False") | None => Some(NOT_READY),
        Some(_) => Some(UNREACHABLE),
    };
    // A node that was never ready is tainted by admission until its first Ready; that must not become an eviction.
    wanted.extend(trouble.map(|key| (key, "NoSchedule")));
    let evicts = |key: &str| old.iter().any(|taint| taint.effect == "NoExecute" && taint.key == key);
    let already = evicts(NOT_READY) || evicts(UNREACHABLE);
    if let Some(key) = trouble
        && status_of(node, "Ready").is_some()
        && (evict || already)
    {
        wanted.push((key, "NoExecute"));
    }
    for (kind, key) in TAINTING {
        if status_of(node, kind) == Some("True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_wanted =
        |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let mut next: Vec<Taint> =
        old.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !next.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            next.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                time_added: Some(seconds(now)),
                value: None,
            });
        }
    }
    (next != old).then_some(next)
}

/// Whether pods of unready nodes may be evicted, from how many nodes of a zone are ready. When all or most of a zone is
/// unready, the fault is more likely on our side, and evicting would make it worse (KEP and documentation of node
/// lifecycle: 55 % with at least three nodes; small clusters stop altogether).
pub(super) fn may_evict(ready: usize, unready: usize) -> bool {
    let fully = ready == 0 && unready > 0;
    let partly = unready > 2 && unready * 100 >= (ready + unready) * 55;
    !fully && !partly
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: Option<&str>, taints: &[(&str, &str)]) -> Node {
        let mut node = Node::default();
        if let Some(status) = ready {
            let condition = NodeCondition {
                type_: "Ready".to_owned(),
                status: status.to_owned(),
                ..NodeCondition::default()
            };
            node.status.get_or_insert_default().conditions = Some(vec![condition]);
        }
        let taint = |(key, effect): &(&str, &str)| Taint {
            key: (*key).to_owned(),
            effect: (*effect).to_owned(),
            ..Taint::default()
        };
        node.spec.get_or_insert_default().taints = Some(taints.iter().map(taint).collect());
        node
    }

    #[test]
    fn taints_follow_conditions() {
        let now = Timestamp::from_second(1000).unwrap();
        let (ns, ne) = ("NoSchedule", "NoExecute");
        type Taints<'a> = &'a [(&'a str, &'a str)];
        let rows: &[(Option<&str>, bool, Taints<'_>, Option<Taints<'_>>)] = &[
            (Some("True"), true, &[], None),
            (Some("True"), true, &[(NOT_READY, ns), ("mine", ns)], Some(&[("mine", ns)])),
            (Some("False"), true, &[], Some(&[(NOT_READY, ns), (NOT_READY, ne)])),
            (Some("False"), false, &[], Some(&[(NOT_READY, ns)])),
            (
                Some("Unknown"),
                false,
                &[(NOT_READY, ns), (NOT_READY, ne)],
                Some(&[(UNREACHABLE, ns), (UNREACHABLE, ne)]),
            ),
            (Some("True"), false, &[(UNREACHABLE, ns), (UNREACHABLE, ne)], Some(&[])),
        ];
        for (ready, evict, old, wanted) in rows {
            let got = taints(&node(*ready, old), *evict, now);
            let got: Option<Vec<_>> =
                got.as_ref().map(|all| all.iter().map(|t| (t.key.as_str(), t.effect.as_str())).collect());
            assert_eq!(got.as_deref(), *wanted, "{ready:?} {evict} {old:?}");
        }
    }

    #[test]
    fn silence_makes_every_condition_unknown() {
        let now = Timestamp::from_second(1000).unwrap();
        let conditions = silent_conditions(&node(Some("True"), &[]), now).unwrap();
        assert_eq!(conditions.len(), 4);
        assert!(conditions.iter().all(|c| c.status == "Unknown"));
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    }

    #[test]
    fn evictions_stop_when_most_nodes_are_unready() {
        assert!(may_evict(2, 1));
        assert!(may_evict(1, 2));
        assert!(!may_evict(0, 1));
        assert!(!may_evict(2, 3));
        assert!(may_evict(10, 3));
    }
}
