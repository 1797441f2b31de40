//! How many pods to make, which to delete, and what the status says.

use super::workload::Workload;
use crate::common::conditions;
use crate::common::pods::{availability, deletion_order, is_active, is_available, is_ready, is_terminating};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// At most this many pods are made or deleted at once.
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: usize,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// Compares wanted and active pods. `related` counts active pods per node, for choosing among them.
pub(super) fn plan(wanted: i32, pods: &[Arc<Pod>], related: &HashMap<String, usize>, now: Timestamp) -> Plan {
    let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() < wanted {
        return Plan { create: (wanted - active.len()).min(BURST), delete: Vec::new() };
    }
    let excess = (active.len() - wanted).min(BURST);
    if excess == 0 {
        return Plan::default();
    }
    let mut delete = deletion_order(active, related, now);
    delete.truncate(excess);
    Plan { create: 0, delete }
}

fn count(pods: &[Arc<Pod>], that: impl Fn(&Pod) -> bool) -> i32 {
    i32::try_from(pods.iter().filter(|pod| that(pod)).count()).unwrap_or(i32::MAX)
}

fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// The status that the pods make. `failure` is the reason and message of what did not succeed.
pub(super) fn status<W: Workload>(
    workload: &W,
    pods: &[Arc<Pod>],
    failure: Option<(&str, &str)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let old = workload.status();
    let labels = workload
        .template()
        .and_then(|template| template.metadata.as_ref()?.labels.clone())
        .unwrap_or_default();
    let has_all = |pod: &Pod| {
        let own = pod.metadata.labels.as_ref();
        labels.iter().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
    };
    let mut conditions = old.conditions;
    match failure {
        Some((reason, message)) => {
            let condition: ReplicaSetCondition =
                conditions::new("ReplicaFailure", "True", reason, message, now);
            // Only the first failure is kept, so that the message does not flap.
            if conditions::find(&conditions, "ReplicaFailure").is_none() {
                conditions::set(&mut conditions, condition);
            }
        }
        None => conditions::remove(&mut conditions, "ReplicaFailure"),
    }
    ReplicaSetStatus {
        replicas: count(pods, is_active),
        fully_labeled_replicas: nonzero(count(pods, |pod| is_active(pod) && has_all(pod))),
        ready_replicas: nonzero(count(pods, |pod| is_active(pod) && is_ready(pod))),
        available_replicas: nonzero(count(pods, |pod| {
            is_active(pod) && is_available(pod, workload.min_ready(), now)
        })),
        terminating_replicas: Some(count(pods, |pod| {
            is_terminating(pod) && !crate::common::pods::is_terminal(pod)
        })),
        observed_generation: workload.meta().generation,
        conditions,
    }
}

/// When the next ready pod becomes available.
pub(super) fn next_availability(pods: &[Arc<Pod>], min_ready: i32, now: Timestamp) -> Option<Duration> {
    pods.iter()
        .filter(|pod| is_active(pod))
        .filter_map(|pod| availability(pod, min_ready, now).err().flatten())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::pod;

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
    }

    #[test]
    fn creates_what_lacks_and_deletes_the_least_useful() {
        let now = Timestamp::from_second(10_000).unwrap();
        let none = HashMap::new();
        let pods = vec![
            pod("ready", "Running", true, 1_000),
            pod("young", "Running", true, 9_990),
            pod("unready", "Running", false, 1_000),
            pod("pending", "Pending", false, 1_000),
            pod("done", "Succeeded", false, 1_000),
        ];
        assert_eq!(plan(6, &pods, &none, now).create, 2);
        assert_eq!(plan(4, &pods, &none, now).create, 0);
        assert_eq!(names(&plan(3, &pods, &none, now).delete), ["pending"]);
        assert_eq!(names(&plan(1, &pods, &none, now).delete), ["pending", "unready", "young"]);
        assert_eq!(plan(100_000, &pods, &none, now).create, BURST);
    }

    #[test]
    fn annotated_cost_and_doubled_up_pods_come_before_age() {
        let now = Timestamp::from_second(10_000).unwrap();
        let mut cheap = Pod::clone(&pod("cheap", "Running", true, 1_000));
        let cost = ("controller.kubernetes.io/pod-deletion-cost".to_owned(), "-5".to_owned());
        cheap.metadata.annotations = Some([cost].into());
        let mut crowded = Pod::clone(&pod("crowded", "Running", true, 1_000));
        crowded.spec.get_or_insert_default().node_name = Some("full".to_owned());
        let pods = vec![pod("young", "Running", true, 9_990), Arc::new(crowded), Arc::new(cheap)];
        let related = HashMap::from([("full".to_owned(), 3), ("node".to_owned(), 1)]);
        assert_eq!(names(&plan(0, &pods, &related, now).delete), ["cheap", "crowded", "young"]);
    }
}
