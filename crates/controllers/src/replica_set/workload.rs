//! [`Workload`]: what ReplicaSet and ReplicationController have in common, so that one controller serves both.

use api::Kind;
use api::common::selector;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use machinery::labels::Selector;

/// A kind that keeps a number of equal pods.
pub(crate) trait Workload: Kind {
    /// Its controller's name in events.
    const COMPONENT: &'static str;
    /// How many pods it wants.
    fn replicas(&self) -> i32;
    /// Which pods are its own.
    fn selector(&self) -> Selector;
    /// How to make them.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// How long they must be ready to count as available, in seconds.
    fn min_ready(&self) -> i32;
    /// Its status.
    fn status(&self) -> ReplicaSetStatus;
    /// Sets its status.
    fn set_status(&mut self, status: ReplicaSetStatus);
}

impl Workload for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }
    fn selector(&self) -> Selector {
        let selector = self.spec.as_ref().map(|spec| &spec.selector);
        selector::convert(selector).unwrap_or_else(|_| Selector::nothing())
    }
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }
    fn min_ready(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }
    fn set_status(&mut self, status: ReplicaSetStatus) {
        self.status = Some(status);
    }
}

impl Workload for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }
    fn selector(&self) -> Selector {
        let labels = self.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        if labels.is_empty() {
            return Selector::nothing();
        }
        Selector::from_labels(&labels).unwrap_or_else(|_| Selector::nothing())
    }
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }
    fn min_ready(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn status(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let conditions = status.conditions.map(|all| {
            let convert = |c: ReplicationControllerCondition| ReplicaSetCondition {
                last_transition_time: c.last_transition_time,
                message: c.message,
                reason: c.reason,
                status: c.status,
                type_: c.type_,
            };
            all.into_iter().map(convert).collect()
        });
        ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions,
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            ..ReplicaSetStatus::default()
        }
    }
    fn set_status(&mut self, status: ReplicaSetStatus) {
        let conditions = status.conditions.map(|all| {
            let convert = |c: ReplicaSetCondition| ReplicationControllerCondition {
                last_transition_time: c.last_transition_time,
                message: c.message,
                reason: c.reason,
                status: c.status,
                type_: c.type_,
            };
            all.into_iter().map(convert).collect()
        });
        self.status = Some(ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions,
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        });
    }
}
