//! Feeds the cache and the queue from informers.

use crate::cache::{Cache, PodInfo};
use crate::framework::ClusterEvent;
use crate::queue::SchedulingQueue;
use crate::resources::Resources;
use client::{Event, Informer, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;

/// Whether a pod has ended: it needs its node's resources no more.
fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

/// Follows pods: those with a node into the cache, those without and of this scheduler into the queue.
pub(crate) fn pods(informer: &Informer<Pod>, name: &str, cache: Arc<Cache>, queue: Arc<SchedulingQueue>) {
    let name = name.to_owned();
    informer.on_event(move |event| {
        let pod = event.object();
        let key = ObjectKey::of(&pod.metadata);
        let gone = event.is_deleted() || ended(pod);
        match node_of(pod) {
            _ if gone => {
                queue.remove(&key);
                cache.remove_pod(&key);
                queue.notify(ClusterEvent::PodGone);
            }
            Some(node) => {
                queue.remove(&key);
                cache.set_pod(node, pod.clone());
                let old_labels = event.old().map(|old| &old.metadata.labels);
                if event.old().is_none_or(|old| node_of(old).is_none())
                    || old_labels != Some(&pod.metadata.labels)
                {
                    queue.notify(ClusterEvent::PodPlaced);
                }
            }
            None => {
                let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
                let ours = scheduler.unwrap_or("default-scheduler") == name;
                let terminating = pod.metadata.deletion_timestamp.is_some();
                if ours && !terminating && !cache.is_assumed(&key, pod.metadata.uid.as_deref()) {
                    queue.update(Arc::new(PodInfo::new(pod.clone())));
                } else if terminating {
                    queue.remove(&key);
                }
            }
        }
    });
}

/// Follows nodes into the cache and tells the queue what changed for the better.
pub(crate) fn nodes(informer: &Informer<Node>, cache: Arc<Cache>, queue: Arc<SchedulingQueue>) {
    informer.on_event(move |event| match event {
        Event::Deleted(node) => cache.remove_node(node.metadata.name.as_deref().unwrap_or_default()),
        Event::Added(node) => {
            cache.set_node(node.clone());
            queue.notify(ClusterEvent::NodeAdded);
        }
        Event::Updated { old, new } => {
            cache.set_node(new.clone());
            for change in changes(old, new) {
                queue.notify(change);
            }
        }
    });
}

fn changes(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let mut changes = Vec::new();
    let taints = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable));
    if taints(old) != taints(new) {
        changes.push(ClusterEvent::NodeTaints);
    }
    if old.metadata.labels != new.metadata.labels {
        changes.push(ClusterEvent::NodeLabels);
    }
    if Resources::allocatable(old) != Resources::allocatable(new) {
        changes.push(ClusterEvent::NodeAllocatable);
    }
    changes
}
