//! `TaintToleration`: keeps pods off nodes with taints they do not tolerate, and away from those that would
//! rather not have them.

use crate::cache::NodeInfo;
use crate::framework::{
    ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, Rejection, Score, default_normalize,
};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};
use std::sync::Arc;

struct TaintToleration;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    let plugin = Arc::new(TaintToleration);
    framework.filter.push(plugin.clone());
    framework.score.push(plugin);
}

/// Whether `toleration` covers `taint` (`core/v1.Toleration`).
fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let unset = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    if !unset(&toleration.effect) && toleration.effect.as_deref() != Some(taint.effect.as_str()) {
        return false;
    }
    if !unset(&toleration.key) && toleration.key.as_deref() != Some(taint.key.as_str()) {
        return false;
    }
    let taint_value = taint.value.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => !unset(&toleration.key) && value == taint_value,
        "Exists" => true,
        "Lt" | "Gt" => numbers(value, taint_value).is_some_and(|(ours, theirs)| {
            if toleration.operator.as_deref() == Some("Lt") { theirs < ours } else { theirs > ours }
        }),
        _ => false,
    }
}

fn numbers(ours: &str, theirs: &str) -> Option<(i64, i64)> {
    Some((ours.parse().ok()?, theirs.parse().ok()?))
}

/// Whether one of the pod's tolerations covers `taint`.
pub(super) fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    tolerations.into_iter().any(|toleration| covers(toleration, taint))
}

fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    node.node.iter().flat_map(|node| node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()))
}

/// The first taint that keeps the pod off the node, if one does.
fn untolerated<'a>(pod: &Pod, node: &'a NodeInfo) -> Option<&'a Taint> {
    let hard = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    taints(node).filter(hard).find(|taint| !tolerates(pod, taint))
}

/// Whether a taint keeps the pod off the node.
pub(super) fn repels(pod: &Pod, node: &NodeInfo) -> bool {
    untolerated(pod, node).is_some()
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodUpdated)
    }
}

impl Filter for TaintToleration {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        match untolerated(&cycle.pod.pod, node) {
            None => Ok(()),
            Some(taint) => {
                let value = taint.value.as_deref().unwrap_or_default();
                Err(Rejection::unresolvable(format!(
                    "node(s) had untolerated taint {{{}: {value}}}",
                    taint.key
                )))
            }
        }
    }
}

impl Score for TaintToleration {
    fn weight(&self) -> i64 {
        3
    }

    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let soft = taints(node).filter(|taint| taint.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerates(&cycle.pod.pod, taint)).map(|_| 1).sum()
    }

    fn normalize(&self, _: &Cycle, scores: &mut [i64]) {
        default_normalize(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerations_cover_taints() {
        let taint =
            Taint { key: "k".into(), value: Some("5".into()), effect: "NoSchedule".into(), time_added: None };
        for (row, expected) in [
            (toleration("k", "", "5", ""), true),
            (toleration("k", "Equal", "6", ""), false),
            (toleration("k", "Exists", "", "NoSchedule"), true),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("", "Equal", "5", ""), false),
            (toleration("k", "Lt", "6", ""), true),
            (toleration("k", "Gt", "6", ""), false),
        ] {
            assert_eq!(covers(&row, &taint), expected, "{row:?}");
        }
    }
}
