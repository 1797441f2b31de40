//! Gives every node a range of pod addresses out of the cluster's.

use crate::common::owners::enqueue;
use crate::context::Context;
use client::{EventType, Informer, ObjectKey, Patch, Requeue, run_workers};
use k8s_openapi::api::core::v1::Node;
use machinery::Status;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Runs the controller, unless the configuration says that nodes get no ranges.
pub(crate) async fn run(context: Context) {
    if !context.config.allocate_node_cidrs {
        return;
    }
    let nodes = context.informers.informer::<Node>();
    let queue = context.queue::<ObjectKey>();
    nodes.synced().await;
    let (base, prefix) = context.config.cluster_cidr;
    let ranges = Ranges::new(base, prefix, context.config.node_cidr_mask_size);
    let worker =
        Arc::new(Worker { context: context.clone(), nodes: nodes.clone(), ranges: Mutex::new(ranges) });
    // Ranges in use must be known before the first is given away.
    for node in nodes.store().list() {
        worker.ranges.lock().occupy(&node);
    }
    enqueue(&nodes, &queue);
    run_workers("node-ipam-controller", 1, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    nodes: Informer<Node>,
    ranges: Mutex<Ranges>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(node) = self.nodes.store().get(key) else {
            self.ranges.lock().release(&key.name);
            return Ok(Requeue::No);
        };
        if cidr_of(&node).is_some() {
            self.ranges.lock().occupy(&node);
            return Ok(Requeue::No);
        }
        let Some(cidr) = self.ranges.lock().allocate(&key.name) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.context.recorder.event(&*node, EventType::Normal, "CIDRNotAvailable", message);
            return Err(Status::unavailable(
                "failed to allocate a pod range: cluster-cidr is used up; remove nodes or restart with a larger range",
            ));
        };
        let patch = serde_json::json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
        let api = self.context.client.all::<Node>();
        match api.patch(&key.name, Patch::Merge(patch.to_string().into())).await {
            Err(status) if status.is_not_found() => {
                self.ranges.lock().release(&key.name);
                Ok(Requeue::No)
            }
            outcome => outcome.map(|_| Requeue::No),
        }
    }
}

fn cidr_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

/// Equal ranges, numbered.
struct Ranges {
    base: u32,
    node_prefix: u8,
    count: u32,
    used: BTreeSet<u32>,
    by_node: HashMap<String, u32>,
}

impl Ranges {
    fn new(base: Ipv4Addr, prefix: u8, node_prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let count = 1_u32.checked_shl(u32::from(node_prefix.saturating_sub(prefix))).unwrap_or(u32::MAX);
        Self {
            base: u32::from(base) & mask,
            node_prefix,
            count,
            used: BTreeSet::new(),
            by_node: HashMap::new(),
        }
    }

    fn size(&self) -> u32 {
        1_u32.checked_shl(32 - u32::from(self.node_prefix)).unwrap_or(u32::MAX)
    }

    /// Notes the range that a node has.
    fn occupy(&mut self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let Some(address) = cidr_of(node).and_then(|cidr| cidr.split('/').next()?.parse::<Ipv4Addr>().ok())
        else {
            return;
        };
        let Some(offset) = u32::from(address).checked_sub(self.base) else { return };
        let index = offset / self.size();
        if index < self.count {
            self.used.insert(index);
            self.by_node.insert(name, index);
        }
    }

    /// The range of a node; a repeated call gives the same one.
    fn allocate(&mut self, name: &str) -> Option<String> {
        let index = match self.by_node.get(name) {
            Some(index) => *index,
            None => (0..self.count).find(|index| !self.used.contains(index))?,
        };
        self.used.insert(index);
        self.by_node.insert(name.to_owned(), index);
        let address = Ipv4Addr::from(self.base + index * self.size());
        Some(format!("{address}/{}", self.node_prefix))
    }

    fn release(&mut self, name: &str) {
        if let Some(index) = self.by_node.remove(name) {
            self.used.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;

    #[test]
    fn ranges_are_used_once_and_again_after_release() {
        let mut ranges = Ranges::new(Ipv4Addr::new(10, 244, 0, 0), 23, 24);
        assert_eq!(ranges.allocate("a").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(ranges.allocate("b").as_deref(), Some("10.244.1.0/24"));
        assert_eq!(ranges.allocate("a").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(ranges.allocate("c"), None);
        ranges.release("a");
        assert_eq!(ranges.allocate("c").as_deref(), Some("10.244.0.0/24"));
    }

    #[tokio::test]
    async fn nodes_get_ranges_that_no_other_has() {
        let world = World::new();
        let nodes = world.client().all::<Node>();
        let mut old = Node::default();
        old.metadata.name = Some("old".to_owned());
        old.spec.get_or_insert_default().pod_cidr = Some("10.244.0.0/24".to_owned());
        old.spec.get_or_insert_default().pod_cidrs = Some(vec!["10.244.0.0/24".to_owned()]);
        nodes.create(&old).await.unwrap();
        world.start(run);
        let mut new = Node::default();
        new.metadata.name = Some("new".to_owned());
        nodes.create(&new).await.unwrap();
        let given = || {
            world
                .api
                .objects::<Node>()
                .iter()
                .filter_map(|n| cidr_of(n).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        world.until("the new node has a range", || given() == ["10.244.1.0/24", "10.244.0.0/24"]).await;
    }
}
