//! `NodeUnschedulable`: cordoned nodes take only pods that tolerate it.

use super::taint_toleration::tolerates;
use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, Rejection};
use k8s_openapi::api::core::v1::Taint;
use std::sync::Arc;

struct NodeUnschedulable;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    framework.filter.push(Arc::new(NodeUnschedulable));
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodUpdated)
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let spec = node.node.as_ref().and_then(|node| node.spec.as_ref());
        if spec.and_then(|spec| spec.unschedulable) != Some(true) {
            return Ok(());
        }
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if tolerates(&cycle.pod.pod, &taint) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) were unschedulable"))
    }
}
