//! `NodeResourcesBalancedAllocation`: nodes whose CPU and memory would be used to the same degree are better.

use crate::cache::NodeInfo;
use crate::framework::{Cycle, Framework, Handle, MAX_NODE_SCORE, Plugin, Score};
use std::sync::Arc;

struct BalancedAllocation;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    framework.score.push(Arc::new(BalancedAllocation));
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
}

impl Score for BalancedAllocation {
    fn weight(&self) -> i64 {
        1
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "fractions of 0 to 1")]
    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let request = cycle.pod.requests.clone().for_scoring();
        let fraction =
            |have: i64, used: i64| if have <= 0 { 1.0 } else { (used as f64 / have as f64).min(1.0) };
        let (have, used) = (&node.allocatable, &node.scoring_requested);
        let cpu = fraction(have.milli_cpu, used.milli_cpu + request.milli_cpu);
        let memory = fraction(have.memory, used.memory + request.memory);
        // The standard deviation of two numbers is half their distance.
        ((1.0 - (cpu - memory).abs() / 2.0) * MAX_NODE_SCORE as f64) as i64
    }
}
