//! Deletes pods that no kubelet will: those of nodes that are gone, those that were deleted before they had a node, and the
//! oldest finished ones when there are too many.

use crate::common::pods;
use crate::context::Context;
use crate::node_lifecycle::{NODE_INDEX, index_by_node};
use crate::taint_eviction::disrupt;
use client::{DeleteOptions, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{Node, Pod};
use machinery::Status;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A node must have been gone this long before its pods are deleted: it may only be registering anew.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How long finished pods are let to pile up between two counts.
const COUNT_AGAIN: Duration = Duration::from_secs(20);
const WORKERS: usize = 4;
const TERMINAL_INDEX: &str = "terminal";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// Look at a pod.
    Pod(ObjectKey),
    /// Count finished pods.
    Count,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => key.fmt(f),
            Self::Count => f.write_str("finished pods"),
        }
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let nodes = context.informers.informer::<Node>();
    let pods = context.informers.informer::<Pod>();
    index_by_node(&pods);
    pods.add_index(
        TERMINAL_INDEX,
        |pod| {
            if pods::is_terminal(pod) { vec![String::new()] } else { Vec::new() }
        },
    );
    let queue = context.queue::<Task>();
    nodes.synced().await;
    pods.synced().await;
    let (changed, known) = (queue.clone(), nodes.clone());
    pods.on_event(move |event| {
        let pod = event.object();
        let task = Task::Pod(ObjectKey::of(&pod.metadata));
        if event.is_deleted() {
            return;
        }
        if pods::node_of(pod).is_empty() {
            if pods::is_terminating(pod) {
                changed.add(task);
            }
        } else if known.store().find("", pods::node_of(pod)).is_none() {
            changed.add_after(task, QUARANTINE);
        } else if pods::is_terminating(pod) {
            changed.add(task);
        }
        if pods::is_terminal(pod) {
            changed.add_after(Task::Count, COUNT_AGAIN);
        }
    });
    let (changed, on_node) = (queue.clone(), pods.clone());
    nodes.on_event(move |event| {
        let delay = if event.is_deleted() { QUARANTINE } else { Duration::ZERO };
        if !event.is_deleted() && !is_out_of_service(event.object()) {
            return;
        }
        for pod in on_node.store().by_index(NODE_INDEX, event.object().metadata.name.as_deref().unwrap_or(""))
        {
            changed.add_after(Task::Pod(ObjectKey::of(&pod.metadata)), delay);
        }
    });
    let worker = Arc::new(Worker { context: context.clone(), nodes, pods });
    run_workers("pod-garbage-collector-controller", WORKERS, &queue, &context.tasks, move |task| {
        let worker = worker.clone();
        async move {
            match task {
                Task::Pod(key) => worker.look(&key).await,
                Task::Count => worker.count().await,
            }
        }
    });
    context.tasks.stopping().cancelled().await;
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| &spec.taints).flatten();
    let ready = node.status.iter().flat_map(|status| &status.conditions).flatten();
    let is_ready =
        ready.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    !is_ready && taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

struct Worker {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
}

impl Worker {
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(pod) = self.pods.store().get(key) else { return Ok(Requeue::No) };
        let name = pods::node_of(&pod);
        if name.is_empty() {
            if pods::is_terminating(&pod) {
                self.delete(&pod, None).await?;
            }
            return Ok(Requeue::No);
        }
        match self.nodes.store().find("", name) {
            Some(node) if is_out_of_service(&node) && pods::is_terminating(&pod) => {
                self.delete(&pod, None).await?
            }
            Some(_) => {}
            // The cache may be behind: ask.
            None if self.context.client.all::<Node>().get_opt(name).await?.is_none() => {
                self.delete(&pod, Some(("DeletionByPodGC", "PodGC: node no longer exists"))).await?;
            }
            None => {}
        }
        Ok(Requeue::No)
    }

    async fn count(&self) -> Result<Requeue, Status> {
        let mut finished = self.pods.store().by_index(TERMINAL_INDEX, "");
        let threshold = self.context.config.terminated_pod_gc_threshold;
        let excess = finished.len().saturating_sub(threshold);
        if threshold == 0 || excess == 0 {
            return Ok(Requeue::No);
        }
        finished.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        for pod in &finished[..excess] {
            self.delete(pod, None).await?;
        }
        Ok(Requeue::No)
    }

    async fn delete(&self, pod: &Pod, disruption: Option<(&str, &str)>) -> Result<(), Status> {
        if !pods::is_terminal(pod) && !pods::node_of(pod).is_empty() {
            match disruption {
                Some(reason) => disrupt(&self.context, pod, reason, Some("Failed")).await?,
                None => {
                    let mut failed = pod.clone();
                    failed.status.get_or_insert_default().phase = Some("Failed".to_owned());
                    match self.context.client.all::<Pod>().update_status(&failed).await {
                        Err(status) if !status.is_not_found() => return Err(status),
                        _ => {}
                    }
                }
            }
        }
        let meta = &pod.metadata;
        let options = DeleteOptions {
            uid: meta.uid.clone(),
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        let api = self.context.client.namespaced::<Pod>(meta.namespace.as_deref().unwrap_or(""));
        match api.delete_with(meta.name.as_deref().unwrap_or(""), &options).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{World, template};

    #[tokio::test]
    async fn pods_of_lost_nodes_and_too_many_finished_ones_go() {
        let mut world = World::new();
        world.config.terminated_pod_gc_threshold = 1;
        let client = world.client();
        let mut node = Node::default();
        node.metadata.name = Some("there".to_owned());
        client.all::<Node>().create(&node).await.unwrap();
        let pods = client.namespaced::<Pod>("default");
        for (name, node, phase) in [
            ("kept", "there", "Running"),
            ("lost", "gone", "Running"),
            ("old", "there", "Failed"),
            ("new", "there", "Failed"),
        ] {
            let mut pod = pods::from_template(&template("web"));
            pod.metadata.name = Some(name.to_owned());
            pod.metadata.namespace = Some("default".to_owned());
            pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
            pods.create(&pod).await.unwrap();
            let patch = serde_json::json!({"status": {"phase": phase}}).to_string();
            pods.patch_status(name, client::Patch::Merge(patch.into())).await.unwrap();
            world.clock.advance(Duration::from_secs(1));
        }
        world.start(run);
        let names = || {
            let all = world.api.objects::<Pod>();
            all.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>()
        };
        world.passing("only the right ones remain", || names() == ["kept", "new"]).await;
    }
}
