//! `SchedulingGates`: a pod waits until its `spec.schedulingGates` are empty (KEP-3521).

use crate::cache::PodInfo;
use crate::framework::{Framework, Handle, Plugin, PreEnqueue, Rejection};
use std::sync::Arc;

struct SchedulingGates;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    framework.pre_enqueue.push(Arc::new(SchedulingGates));
}

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection> {
        let gates =
            pod.pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Err(Rejection::unresolvable(format!("waiting for scheduling gates: {names:?}")))
    }
}
