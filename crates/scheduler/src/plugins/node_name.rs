//! `NodeName`: a pod that names a node goes there and nowhere else.

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, Rejection};
use std::sync::Arc;

struct NodeName;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    framework.filter.push(Arc::new(NodeName));
}

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::NodeAdded
    }
}

impl Filter for NodeName {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let wanted =
            cycle.pod.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        if wanted.is_empty() || wanted == node.name() {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match the requested node name"))
    }
}
