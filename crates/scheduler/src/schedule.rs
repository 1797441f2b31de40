//! The scheduling loop: take a pod, find a node, assume it, bind beside the loop.

use crate::cache::{Cache, NodeInfo, PodInfo};
use crate::framework::{Cycle, Diagnosis, Framework, Handle, Notifier};
use crate::queue::{QueuedPod, SchedulingQueue};
use crate::{plugins, watch};
use api::Object;
use client::{Client, EventRecorder, EventType, InformerFactory, ObjectKey, Patch};
use component::{SharedClock, Tasks};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::Status;
use rand::seq::IndexedRandom;
use std::collections::BTreeSet;
use std::sync::Arc;

/// With more nodes than this, not all are looked at once enough will do (percentageOfNodesToScore).
const ALL_NODES: usize = 100;

/// How a scheduler runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are its own.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned() }
    }
}

struct Scheduler {
    config: Config,
    framework: Arc<Framework>,
    cache: Arc<Cache>,
    queue: Arc<SchedulingQueue>,
    client: Client,
    events: EventRecorder,
    clock: SharedClock,
    tasks: Tasks,
    /// Where the search for nodes goes on next time, so that all nodes get their turn.
    next_start: usize,
}

/// Runs a scheduler until `tasks` stop.
pub async fn run(config: Config, client: Client, clock: SharedClock, tasks: Tasks) {
    let informers = InformerFactory::new(client.clone(), clock.clone(), tasks.clone());
    let notify = Arc::new(Notifier::default());
    let handle = Handle {
        client: client.clone(),
        informers: informers.clone(),
        clock: clock.clone(),
        notify: notify.clone(),
    };
    let framework = Arc::new(plugins::defaults(&handle));
    let cache = Arc::new(Cache::default());
    let queue = Arc::new(SchedulingQueue::new(framework.clone(), clock.clone()));
    notify.connect(&queue);
    let (nodes, pods) = (informers.informer::<Node>(), informers.informer::<Pod>());
    nodes.synced().await;
    watch::nodes(&nodes, cache.clone(), queue.clone());
    pods.synced().await;
    watch::pods(&pods, &config.scheduler_name, cache.clone(), queue.clone());
    let events = EventRecorder::new(&client, &config.scheduler_name, "", clock.clone(), &tasks);
    let mut scheduler =
        Scheduler { config, framework, cache, queue, client, events, clock, tasks, next_start: 0 };
    let stopping = scheduler.tasks.stopping().clone();
    loop {
        let next = stopping.run_until_cancelled(scheduler.queue.next()).await;
        let Some(pod) = next else { return };
        scheduler.schedule(pod).await;
    }
}

impl Scheduler {
    async fn schedule(&mut self, queued: QueuedPod) {
        let pod = queued.info.clone();
        let mut cycle = Cycle::new(pod.clone(), self.cache.snapshot());
        match self.find_node(&mut cycle) {
            Ok(node) => self.bind(queued, cycle, node),
            Err(diagnosis) => self.report_unschedulable(queued, &diagnosis).await,
        }
    }

    fn find_node(&mut self, cycle: &mut Cycle) -> Result<String, Diagnosis> {
        let nodes: Vec<Arc<NodeInfo>> =
            cycle.nodes.values().filter(|info| info.node.is_some()).cloned().collect();
        let mut diagnosis = Diagnosis { nodes: nodes.len(), ..Diagnosis::default() };
        if let Err((plugin, rejection)) = self.framework.run_pre_filters(cycle) {
            diagnosis.plugins.insert(plugin);
            diagnosis.message = Some(rejection.reasons.join(", "));
            return Err(diagnosis);
        }
        let enough = enough_nodes(nodes.len());
        let mut feasible = Vec::new();
        let start = if nodes.is_empty() { 0 } else { self.next_start % nodes.len() };
        let mut looked_at = 0;
        for node in nodes[start..].iter().chain(&nodes[..start]) {
            looked_at += 1;
            match self.framework.run_filters(cycle, node) {
                Ok(()) => feasible.push(node.clone()),
                Err((plugin, rejection)) => {
                    diagnosis.plugins.insert(plugin);
                    diagnosis.by_node.insert(node.name().to_owned(), rejection);
                }
            }
            if feasible.len() >= enough {
                break;
            }
        }
        self.next_start = start + looked_at;
        match feasible.as_slice() {
            [] => {
                if nodes.is_empty() {
                    // Any plugin would do: what helps is a node.
                    diagnosis.plugins.insert("NodeName");
                }
                Err(diagnosis)
            }
            [only] => Ok(only.name().to_owned()),
            many => Ok(self.best(cycle, many)),
        }
    }

    fn best(&self, cycle: &Cycle, nodes: &[Arc<NodeInfo>]) -> String {
        let scores = self.framework.run_scores(cycle, nodes);
        let top = scores.iter().max().copied().unwrap_or(0);
        let best: Vec<&Arc<NodeInfo>> =
            nodes.iter().zip(&scores).filter(|(_, score)| **score == top).map(|(node, _)| node).collect();
        best.choose(&mut rand::rng()).map(|node| node.name().to_owned()).unwrap_or_default()
    }

    /// Counts the pod on `node` at once and binds it beside the loop; what fails is undone and tried again.
    fn bind(&self, queued: QueuedPod, cycle: Cycle, node: String) {
        let key = queued.info.key();
        self.cache.assume(&node, queued.info.clone());
        self.queue.done(&key);
        let binder = Binder {
            framework: self.framework.clone(),
            cache: self.cache.clone(),
            queue: self.queue.clone(),
            client: self.client.clone(),
            events: self.events.clone(),
        };
        self.tasks.spawn("bind", async move { binder.run(queued, cycle, &node).await });
    }

    async fn report_unschedulable(&self, queued: QueuedPod, diagnosis: &Diagnosis) {
        let pod = queued.info.pod.clone();
        let message = diagnosis.to_string();
        self.events.event(&*pod, EventType::Warning, "FailedScheduling", message.clone());
        let condition = set_unschedulable(&self.client, &pod, "Unschedulable", &message, &self.clock);
        let outcome = condition.await;
        self.queue.failed(queued, diagnosis.plugins.clone());
        if let Err(error) = outcome
            && !error.is_not_found()
        {
            let key = ObjectKey::of(&pod.metadata);
            tracing::warn!(pod = %key, scheduler = self.config.scheduler_name,
                "failed to say in its status why a pod is not scheduled: {error}");
        }
    }
}

/// How many feasible nodes are enough: all of up to a hundred, then a shrinking share, at least a hundred.
fn enough_nodes(total: usize) -> usize {
    if total < ALL_NODES {
        return total.max(1);
    }
    let percent = 50_usize.saturating_sub(total / 125).max(5);
    (total * percent / 100).max(ALL_NODES)
}

struct Binder {
    framework: Arc<Framework>,
    cache: Arc<Cache>,
    queue: Arc<SchedulingQueue>,
    client: Client,
    events: EventRecorder,
}

impl Binder {
    async fn run(&self, queued: QueuedPod, cycle: Cycle, node: &str) {
        let key = queued.info.key();
        let why = match self.try_bind(&queued.info, &cycle, node).await {
            Ok(()) => {
                let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.events.event(&*queued.info.pod, EventType::Normal, "Scheduled", message);
                return;
            }
            Err(why) => why,
        };
        self.cache.forget(&key);
        let Err(error) = why else { return };
        tracing::warn!(pod = %key, node, "failed to bind: {error}; the pod is queued again");
        self.events.event(&*queued.info.pod, EventType::Warning, "FailedScheduling", error);
        self.queue.failed(queued, BTreeSet::new());
    }

    /// `Err(Ok(()))` means that the pod is gone and nothing is to be done.
    async fn try_bind(&self, pod: &PodInfo, cycle: &Cycle, node: &str) -> Result<(), Result<(), String>> {
        for plugin in &self.framework.pre_bind {
            plugin.pre_bind(cycle, node).await.map_err(|rejection| Err(rejection.reasons.join(", ")))?;
        }
        let key = pod.key();
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.to_string()),
                namespace: Some(key.namespace.to_string()),
                uid: pod.pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let pods = self.client.namespaced::<Pod>(&key.namespace);
        let body = binding.to_json();
        match pods.post_subresource(&key.name, "binding", body.into()).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Err(Ok(())),
            Err(error) => Err(Err(error.to_string())),
        }
    }
}

/// Writes the condition `PodScheduled=False`, unless it says the same already.
async fn set_unschedulable(
    client: &Client,
    pod: &Pod,
    reason: &str,
    message: &str,
    clock: &SharedClock,
) -> Result<(), Status> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let old = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    let same = |c: &&k8s_openapi::api::core::v1::PodCondition| {
        c.status == "False" && c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(message)
    };
    if old.filter(same).is_some() {
        return Ok(());
    }
    let mut condition = serde_json::json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastProbeTime": null,
    });
    if old.is_none_or(|old| old.status != "False") {
        condition["lastTransitionTime"] = client::time::now(clock.as_ref()).to_string().into();
    }
    let patch = serde_json::json!({"status": {"conditions": [condition]}});
    let key = ObjectKey::of(&pod.metadata);
    let pods = client.namespaced::<Pod>(&key.namespace);
    pods.patch_status(&key.name, Patch::Strategic(patch.to_string().into())).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::enough_nodes;

    #[test]
    fn large_clusters_are_sampled() {
        for (total, enough) in [(0, 1), (3, 3), (99, 99), (100, 100), (1000, 420), (6000, 300)] {
            assert_eq!(enough_nodes(total), enough, "{total} nodes");
        }
    }
}
