//! `NodeResourcesFit`: a node must have what the pod asks for; with the default strategy, emptier nodes are
//! better.

use crate::cache::NodeInfo;
use crate::framework::{
    ClusterEvent, Cycle, Filter, Framework, Handle, MAX_NODE_SCORE, Plugin, Rejection, Score,
};
use std::sync::Arc;

struct NodeResourcesFit;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    let plugin = Arc::new(NodeResourcesFit);
    framework.filter.push(plugin.clone());
    framework.score.push(plugin);
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeAllocatable
                | ClusterEvent::PodGone
                | ClusterEvent::PodUpdated
        )
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let request = &cycle.pod.requests;
        let mut reasons = Vec::new();
        if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.allocatable.pods {
            reasons.push("Too many pods".to_owned());
        }
        let missing = node.allocatable.lacking(&node.requested, request);
        reasons.extend(missing.iter().map(|name| format!("Insufficient {name}")));
        if reasons.is_empty() {
            return Ok(());
        }
        // A node that is too small even when empty is beyond what preemption can help.
        let fits_empty =
            node.allocatable.lacking(&crate::resources::Resources::default(), request).is_empty();
        Err(Rejection { reasons, resolvable: fits_empty })
    }
}

impl Score for NodeResourcesFit {
    fn weight(&self) -> i64 {
        1
    }

    /// LeastAllocated over CPU and memory.
    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let request = cycle.pod.requests.clone().for_scoring();
        let free = |have: i64, used: i64, want: i64| {
            let left = have.saturating_sub(used).saturating_sub(want);
            if have <= 0 || left < 0 { 0 } else { left.saturating_mul(MAX_NODE_SCORE) / have }
        };
        let (have, used) = (&node.allocatable, &node.scoring_requested);
        let cpu = free(have.milli_cpu, used.milli_cpu, request.milli_cpu);
        let memory = free(have.memory, used.memory, request.memory);
        i64::midpoint(cpu, memory)
    }
}
