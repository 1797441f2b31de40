//! `NodeAffinity`: node selectors and node affinity, required and preferred.

use super::selectors::{matches, term_matches};
use crate::cache::NodeInfo;
use crate::framework::{
    ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, Rejection, Score, default_normalize,
};
use k8s_openapi::api::core::v1::{NodeAffinity as Spec, Pod};
use std::sync::Arc;

struct NodeAffinity;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    let plugin = Arc::new(NodeAffinity);
    framework.filter.push(plugin.clone());
    framework.score.push(plugin);
}

fn affinity(pod: &Pod) -> Option<&Spec> {
    pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

/// Whether `node` is one that the pod's selector and required affinity allow.
pub(super) fn allows(pod: &Pod, node: &NodeInfo) -> bool {
    let selector = pod.spec.iter().flat_map(|spec| spec.node_selector.iter().flatten());
    let labels = node.labels();
    let selected =
        selector.into_iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    let required = affinity(pod)
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| matches(required, node))
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels | ClusterEvent::PodUpdated)
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        if allows(&cycle.pod.pod, node) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"))
    }
}

impl Score for NodeAffinity {
    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let preferred = affinity(&cycle.pod.pod)
            .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
        let terms = preferred.unwrap_or_default().iter();
        terms.filter(|term| term_matches(&term.preference, node)).map(|term| i64::from(term.weight)).sum()
    }

    fn normalize(&self, _: &Cycle, scores: &mut [i64]) {
        default_normalize(scores, false);
    }
}
