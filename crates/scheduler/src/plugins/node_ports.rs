//! `NodePorts`: a host port can be taken once per node.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, PreFilter, Rejection};
use std::sync::Arc;

struct NodePorts;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    let plugin = Arc::new(NodePorts);
    framework.pre_filter.push(plugin.clone());
    framework.filter.push(plugin);
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodGone)
    }
}

impl PreFilter for NodePorts {
    fn pre_filter(&self, cycle: &mut Cycle) -> Result<(), Rejection> {
        if cycle.pod.ports.is_empty() {
            cycle.skip(self.name());
        }
        Ok(())
    }
}

impl Filter for NodePorts {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let taken = node.pods.values().flat_map(|pod| &pod.ports);
        if taken.into_iter().any(|port| cycle.pod.ports.iter().any(|wanted| wanted.conflicts(port))) {
            return Err(Rejection::resolvable("node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }
}
