//! Watches nodes' signs of life. A node whose lease and status were not renewed for the grace period gets `Unknown`
//! conditions; conditions become taints; pods of a node that is not ready are marked so, and leave their services.

mod plan;

use crate::common::owners::enqueue;
use crate::common::pods;
use crate::context::Context;
use client::{EventType, Informer, ObjectKey, Patch, Requeue, Selection, WorkQueue, run_workers};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use machinery::Status;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LEASES: &str = "kube-node-lease";
pub(crate) const NODE_INDEX: &str = "node";
const WORKERS: usize = 2;

/// Declares the index of pods by node.
pub(crate) fn index_by_node(pods: &Informer<Pod>) {
    pods.add_index(NODE_INDEX, |pod| {
        Some(pods::node_of(pod).to_owned()).filter(|name| !name.is_empty()).into_iter().collect()
    });
}

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let nodes = context.informers.informer::<Node>();
    let leases = context.informers.informer_of::<Lease>(&Selection::namespace(LEASES));
    let pods = context.informers.informer::<Pod>();
    index_by_node(&pods);
    let queue = context.queue::<ObjectKey>();
    nodes.synced().await;
    leases.synced().await;
    pods.synced().await;
    let worker = Arc::new(Worker {
        context: context.clone(),
        nodes: nodes.clone(),
        leases: leases.clone(),
        pods,
        signs: Mutex::default(),
        queue: queue.clone(),
    });
    enqueue(&nodes, &queue);
    let renewed = queue.clone();
    leases.on_event(move |event| {
        renewed.add(ObjectKey::cluster(event.object().metadata.name.as_deref().unwrap_or("")));
    });
    let (context, tasks) = (context.clone(), context.tasks.clone());
    run_workers("node-controller", WORKERS, &queue, &tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

/// The last sign of life, by our own clock: clocks of nodes are not trusted.
struct Sign {
    uid: Option<String>,
    seen: Instant,
    heartbeat: Option<Timestamp>,
    renewal: Option<Timestamp>,
    ready: bool,
}

struct Worker {
    context: Context,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    signs: Mutex<HashMap<Arc<str>, Sign>>,
    queue: WorkQueue<ObjectKey>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(node) = self.nodes.store().get(key) else {
            if self.signs.lock().remove(&key.name).is_some() {
                self.wake_others(key);
            }
            return Ok(Requeue::No);
        };
        let silence = self.observe(key, &node);
        let grace = self.context.config.node_monitor_grace_period;
        let (node, next) = match grace.checked_sub(silence).filter(|left| !left.is_zero()) {
            Some(left) => (node, Requeue::After(left)),
            None => (self.mark_silent(node).await?, Requeue::No),
        };
        let ready = plan::status_of(&node, "Ready") == Some("True");
        let was_ready =
            self.signs.lock().get_mut(&key.name).map(|sign| std::mem::replace(&mut sign.ready, ready));
        if was_ready != Some(ready) {
            self.wake_others(key);
        }
        if let Some(taints) = plan::taints(&node, self.may_evict(), self.context.now()) {
            match self.write_taints(&node, &taints).await {
                // A newer node is on its way and wakes this key: while a node starts, several parties write to it.
                Err(status) if status.is_conflict() => return Ok(next),
                done => done?,
            }
        }
        if !ready && plan::status_of(&node, "Ready").is_some() {
            self.mark_pods(&key.name).await?;
        }
        Ok(next)
    }

    /// Notes signs of life; answers how long ago the last one was.
    fn observe(&self, key: &ObjectKey, node: &Node) -> Duration {
        let conditions = node.status.iter().flat_map(|status| &status.conditions).flatten();
        let heartbeat = conditions
            .filter(|condition| condition.type_ == "Ready" && condition.status != "Unknown")
            .find_map(|condition| condition.last_heartbeat_time.as_ref().map(|time| time.0));
        let lease = self.leases.store().find(LEASES, &key.name);
        let renewal = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let now = self.context.clock.instant();
        let mut signs = self.signs.lock();
        let fresh = || Sign { uid: node.metadata.uid.clone(), seen: now, heartbeat, renewal, ready: true };
        if signs.get(&key.name).is_none_or(|sign| sign.uid != node.metadata.uid) {
            let message = format!("Node {0} event: Registered Node {0} in Controller", key.name);
            self.context.recorder.event(node, EventType::Normal, "RegisteredNode", message);
            signs.insert(key.name.clone(), fresh());
        }
        let sign = signs.entry(key.name.clone()).or_insert_with(fresh);
        if sign.renewal != renewal || sign.heartbeat < heartbeat {
            sign.seen = now;
            sign.renewal = renewal;
            sign.heartbeat = heartbeat.max(sign.heartbeat);
        }
        now.duration_since(sign.seen)
    }

    async fn mark_silent(&self, node: Arc<Node>) -> Result<Arc<Node>, Status> {
        let Some(conditions) = plan::silent_conditions(&node, self.context.now()) else { return Ok(node) };
        let mut silent = Node::clone(&node);
        silent.status.get_or_insert_default().conditions = Some(conditions);
        let name = node.metadata.name.as_deref().unwrap_or("");
        let message = format!("Node {name} status is now: NodeNotReady");
        self.context.recorder.event(&*node, EventType::Normal, "NodeNotReady", message);
        self.context.client.all::<Node>().update_status(&silent).await
    }

    /// Other nodes' taints depend on how many are ready.
    fn wake_others(&self, key: &ObjectKey) {
        for node in self.nodes.store().list() {
            let other = ObjectKey::of(&node.metadata);
            if other != *key {
                self.queue.add(other);
            }
        }
    }

    /// Zones are not told apart: the cluster is one.
    fn may_evict(&self) -> bool {
        let signs = self.signs.lock();
        let ready = signs.values().filter(|sign| sign.ready).count();
        plan::may_evict(ready, signs.len() - ready)
    }

    async fn write_taints(&self, node: &Node, taints: &[Taint]) -> Result<(), Status> {
        let taints: Vec<_> = taints
            .iter()
            .map(|taint| {
                let mut json = json!({"key": taint.key, "effect": taint.effect});
                if let Some(value) = &taint.value {
                    json["value"] = value.as_str().into();
                }
                if let Some(time) = &taint.time_added {
                    json["timeAdded"] = time.0.to_string().into();
                }
                json
            })
            .collect();
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            // No list at all rather than an empty one, as every other writer leaves it.
            "spec": {"taints": (!taints.is_empty()).then_some(taints)},
        });
        let name = node.metadata.name.as_deref().unwrap_or("");
        let api = self.context.client.all::<Node>();
        api.patch(name, Patch::Merge(patch.to_string().into())).await.map(drop)
    }

    /// Pods of a node that is not ready are not ready either, whatever they said last.
    async fn mark_pods(&self, node: &str) -> Result<(), Status> {
        for pod in self.pods.store().by_index(NODE_INDEX, node) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let mut marked = Pod::clone(&pod);
            let now = client::time::time(&*self.context.clock);
            let conditions =
                marked.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
            for condition in conditions.filter(|condition| condition.type_ == "Ready") {
                condition.status = "False".to_owned();
                condition.last_transition_time = Some(now.clone());
            }
            self.context.recorder.event(&*pod, EventType::Warning, "NodeNotReady", "Node is not ready");
            match self.context.client.all::<Pod>().update_status(&marked).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;

    #[tokio::test]
    async fn a_silent_node_is_tainted_and_heals() {
        let world = World::new();
        let client = world.client();
        let (nodes, leases) = (client.all::<Node>(), client.namespaced::<Lease>(LEASES));
        for name in ["a", "b"] {
            let mut node = Node::default();
            node.metadata.name = Some(name.to_owned());
            nodes.create(&node).await.unwrap();
            let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
            nodes.patch_status(name, Patch::Merge(ready.into())).await.unwrap();
            let mut lease = Lease::default();
            lease.metadata.name = Some(name.to_owned());
            leases.create(&lease).await.unwrap();
        }
        let pod = crate::common::testing::pod("p", "Running", true, 1);
        let mut pod = Pod::clone(&pod);
        pod.spec = crate::common::testing::template("web").spec;
        pod.spec.as_mut().unwrap().node_name = Some("a".to_owned());
        let pod = client.namespaced::<Pod>("default").create(&pod).await.unwrap();
        world.make_ready(&pod).await;
        world.start(run);
        // Only `b` shows signs of life.
        let (clock, beating) = (world.clock.clone(), leases.clone());
        world.tasks.spawn_until_stopped("kubelet", async move {
            loop {
                component::Clock::sleep(&*clock, Duration::from_secs(5)).await;
                let now = client::time::micro_time(&*clock).0;
                let patch = json!({"spec": {"renewTime": now.to_string()}}).to_string();
                let _ = beating.patch("b", Patch::Merge(patch.into())).await;
            }
        });
        let taints = |name: &str| {
            let nodes = world.api.objects::<Node>();
            let node = nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name)).unwrap();
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
            taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect::<Vec<_>>()
        };
        world
            .passing("a is unreachable", || {
                taints("a")
                    == [
                        "node.kubernetes.io/unreachable:NoSchedule",
                        "node.kubernetes.io/unreachable:NoExecute",
                    ]
            })
            .await;
        assert!(taints("b").is_empty());
        world.passing("its pod is not ready", || !pods::is_ready(&world.api.objects::<Pod>()[0])).await;
        let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
        let now = client::time::micro_time(&*world.clock).0.to_string();
        let patch = json!({"spec": {"renewTime": now}}).to_string();
        leases.patch("a", Patch::Merge(patch.into())).await.unwrap();
        nodes.patch_status("a", Patch::Merge(ready.into())).await.unwrap();
        world.until("a has healed", || taints("a").is_empty()).await;
    }
}
