//! What the scheduler knows of nodes and the pods on them, pods that it has only decided about included.
//!
//! [`Cache::snapshot`] is O(1) and immutable: a scheduling cycle works on one without holding a lock.

use crate::resources::Resources;
use client::ObjectKey;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A port of the host that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Address; `0.0.0.0` is all.
    pub address: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be taken on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || self.address == any || other.address == any)
    }

    /// The host ports that a pod takes.
    pub fn of(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let sidecars =
            spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports =
            spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
        ports
            .filter_map(|port| {
                Some(Self {
                    address: port
                        .host_ip
                        .clone()
                        .filter(|ip| !ip.is_empty())
                        .unwrap_or_else(|| "0.0.0.0".to_owned()),
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    port: port.host_port.filter(|number| *number > 0)?,
                })
            })
            .collect()
    }
}

/// A pod on a node, with what is asked of it again and again worked out once.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it asks for.
    pub requests: Resources,
    /// The host ports it takes.
    pub ports: Vec<HostPort>,
}

impl PodInfo {
    /// Works out a pod's needs.
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { requests: Resources::requested(&pod), ports: HostPort::of(&pod), pod }
    }

    /// Its key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(&self.pod.metadata)
    }

    /// Its priority.
    pub fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
    }
}

/// A node and what runs on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; `None` while only its pods are known.
    pub node: Option<Arc<Node>>,
    /// Its pods.
    pub pods: BTreeMap<ObjectKey, Arc<PodInfo>>,
    /// What it can give.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub requested: Resources,
    /// The same, with pods that ask for nothing counted as small ones.
    pub scoring_requested: Resources,
}

impl NodeInfo {
    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    /// The node's labels.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.as_ref().and_then(|node| node.metadata.labels.as_ref())
    }

    /// Adds a pod, in place of its older state.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        let key = pod.key();
        self.remove(&key);
        self.requested.add(&pod.requests);
        self.scoring_requested.add(&pod.requests.clone().for_scoring());
        self.pods.insert(key, pod);
    }

    /// Removes a pod.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.requests);
        self.scoring_requested.subtract(&pod.requests.clone().for_scoring());
        Some(pod)
    }
}

/// Nodes by name, at one moment.
pub type Snapshot = imbl::OrdMap<String, Arc<NodeInfo>>;

/// Nodes and pods, kept current by the informers and by the scheduler's own decisions.
#[derive(Debug, Default)]
pub struct Cache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Snapshot,
    /// Where each pod is, assumed ones included.
    placed: HashMap<ObjectKey, String>,
    /// Pods that were decided about but not yet seen with their node.
    assumed: HashMap<ObjectKey, Option<String>>,
}

impl State {
    fn edit(&mut self, node: &str, change: impl FnOnce(&mut NodeInfo)) {
        let mut info = self.nodes.get(node).cloned().unwrap_or_default();
        change(Arc::make_mut(&mut info));
        if info.node.is_none() && info.pods.is_empty() {
            self.nodes.remove(node);
        } else {
            self.nodes.insert(node.to_owned(), info);
        }
    }

    fn place(&mut self, key: ObjectKey, node: &str, pod: Arc<PodInfo>) {
        self.displace(&key);
        self.edit(node, |info| info.add(pod));
        self.placed.insert(key, node.to_owned());
    }

    fn displace(&mut self, key: &ObjectKey) {
        if let Some(node) = self.placed.remove(key) {
            self.edit(&node, |info| {
                info.remove(key);
            });
        }
    }
}

impl Cache {
    /// The nodes now.
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().nodes.clone()
    }

    /// A node is there, or changed.
    pub fn set_node(&self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let allocatable = Resources::allocatable(&node);
        self.state.lock().edit(&name, |info| {
            info.node = Some(node);
            info.allocatable = allocatable;
        });
    }

    /// A node is gone. Its pods are remembered until they go too.
    pub fn remove_node(&self, name: &str) {
        self.state.lock().edit(name, |info| {
            info.node = None;
            info.allocatable = Resources::default();
        });
    }

    /// A pod runs on `node`, or will: the API says so.
    pub fn set_pod(&self, node: &str, pod: Arc<Pod>) {
        let info = Arc::new(PodInfo::new(pod));
        let key = info.key();
        let mut state = self.state.lock();
        state.assumed.remove(&key);
        state.place(key, node, info);
    }

    /// A pod is gone, or ended.
    pub fn remove_pod(&self, key: &ObjectKey) {
        let mut state = self.state.lock();
        state.assumed.remove(key);
        state.displace(key);
    }

    /// The scheduler decided for `node`: count the pod there before the API says so.
    pub fn assume(&self, node: &str, pod: Arc<PodInfo>) {
        let key = pod.key();
        let mut state = self.state.lock();
        state.assumed.insert(key.clone(), pod.pod.metadata.uid.clone());
        state.place(key, node, pod);
    }

    /// The decision came to nothing: the pod counts nowhere. Ignored when the API has confirmed it meanwhile.
    pub fn forget(&self, key: &ObjectKey) {
        let mut state = self.state.lock();
        if state.assumed.remove(key).is_some() {
            state.displace(key);
        }
    }

    /// Whether a decision about this pod (same uid) is on its way.
    pub fn is_assumed(&self, key: &ObjectKey, uid: Option<&str>) -> bool {
        self.state.lock().assumed.get(key).is_some_and(|assumed| assumed.as_deref() == uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    fn pod(name: &str, cpu: &str) -> Arc<Pod> {
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "n", "name": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        Arc::new(Pod::from_json(pod.to_string().as_bytes()).unwrap())
    }

    fn used(cache: &Cache) -> i64 {
        cache.snapshot().get("a").map_or(0, |info| info.requested.milli_cpu)
    }

    #[test]
    fn assumed_pods_count_until_forgotten() {
        let cache = Cache::default();
        let before = cache.snapshot();
        let info = Arc::new(PodInfo::new(pod("p", "500m")));
        cache.assume("a", info.clone());
        assert_eq!(used(&cache), 500);
        assert!(before.is_empty(), "snapshots do not change");
        cache.forget(&info.key());
        assert_eq!(used(&cache), 0);
    }

    #[test]
    fn a_confirmed_pod_is_not_forgotten() {
        let cache = Cache::default();
        let info = Arc::new(PodInfo::new(pod("p", "500m")));
        cache.assume("a", info.clone());
        cache.set_pod("a", pod("p", "500m"));
        cache.forget(&info.key());
        assert_eq!(used(&cache), 500);
        cache.remove_pod(&info.key());
        assert!(cache.snapshot().is_empty());
    }
}
