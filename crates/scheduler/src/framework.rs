//! The scheduling framework: what a plugin may say and when (KEP-624).
//!
//! A plugin registers itself at the extension points it serves. All of them are called on the scheduling task,
//! on an immutable snapshot, and must not wait; only [`PreBind`] runs beside it and may call the API.

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::queue::SchedulingQueue;
use async_trait::async_trait;
use client::{Client, InformerFactory};
use component::SharedClock;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};

/// The best score of a node.
pub const MAX_NODE_SCORE: i64 = 100;

/// Why a plugin says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Reasons as users read them: `Insufficient cpu`.
    pub reasons: Vec<String>,
    /// Whether removing other pods could change the answer; preemption only looks at such nodes.
    pub resolvable: bool,
}

impl Rejection {
    /// A no that removing pods could change.
    pub fn resolvable(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], resolvable: true }
    }

    /// A no that stands whatever else runs.
    pub fn unresolvable(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], resolvable: false }
    }
}

/// What happened in the cluster, as far as it can make an unschedulable pod schedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClusterEvent {
    /// A node is new.
    NodeAdded,
    /// A node has more to give.
    NodeAllocatable,
    /// A node has other labels.
    NodeLabels,
    /// A node has other taints or its cordon changed.
    NodeTaints,
    /// A pod was placed on a node, or its labels changed.
    PodPlaced,
    /// A pod is gone from a node, or ended.
    PodGone,
    /// The waiting pod itself changed.
    PodUpdated,
    /// A volume, claim or storage class is new or changed.
    Storage,
}

/// The pod being scheduled and what plugins worked out about it in this cycle.
pub struct Cycle {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// All nodes.
    pub nodes: Snapshot,
    state: HashMap<&'static str, Box<dyn Any + Send + Sync>>,
    /// Filters that have nothing to say about this pod.
    skip: BTreeSet<&'static str>,
}

impl Cycle {
    /// A cycle for `pod` on `nodes`.
    pub fn new(pod: Arc<PodInfo>, nodes: Snapshot) -> Self {
        Self { pod, nodes, state: HashMap::new(), skip: BTreeSet::new() }
    }

    /// Keeps what `plugin` worked out.
    pub fn put<T: Any + Send + Sync>(&mut self, plugin: &'static str, value: T) {
        self.state.insert(plugin, Box::new(value));
    }

    /// What `plugin` kept.
    pub fn get<T: Any>(&self, plugin: &'static str) -> Option<&T> {
        self.state.get(plugin).and_then(|value| value.downcast_ref())
    }

    /// What `plugin` kept, to change.
    pub fn get_mut<T: Any>(&mut self, plugin: &'static str) -> Option<&mut T> {
        self.state.get_mut(plugin).and_then(|value| value.downcast_mut())
    }

    /// Spares `plugin` the calls of its filter and score in this cycle.
    pub fn skip(&mut self, plugin: &'static str) {
        self.skip.insert(plugin);
    }

    /// Whether `plugin` asked to be spared.
    pub fn skips(&self, plugin: &str) -> bool {
        self.skip.contains(plugin)
    }
}

/// What every plugin tells about itself.
pub trait Plugin: Send + Sync {
    /// Its name in KubeSchedulerConfiguration.
    fn name(&self) -> &'static str;
    /// Whether a pod that this plugin rejected is worth another try after `event`.
    fn may_help(&self, event: ClusterEvent) -> bool {
        event == ClusterEvent::PodUpdated
    }
}

/// Holds a pod back before it enters the queue.
pub trait PreEnqueue: Plugin {
    /// Fails while the pod must wait.
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection>;
}

/// Looks at the pod once, before any node.
pub trait PreFilter: Plugin {
    /// Fails when no node can do.
    fn pre_filter(&self, cycle: &mut Cycle) -> Result<(), Rejection>;
}

/// Says whether a node can take the pod.
pub trait Filter: Plugin {
    /// Fails when it cannot.
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection>;
}

/// Says how well a node suits the pod.
pub trait Score: Plugin {
    /// The weight among the plugins.
    fn weight(&self) -> i64;
    /// The raw score of one node that passed the filters.
    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64;
    /// Brings the raw scores of all such nodes to 0 to [`MAX_NODE_SCORE`].
    fn normalize(&self, cycle: &Cycle, scores: &mut [i64]) {
        let _ = (cycle, scores);
    }
}

/// Does what must be done before the pod is bound.
#[async_trait]
pub trait PreBind: Plugin {
    /// Fails when the pod cannot be bound to `node` after all.
    async fn pre_bind(&self, cycle: &Cycle, node: &str) -> Result<(), Rejection>;
}

/// What plugins may hold on to: the API and its caches.
#[derive(Clone)]
pub struct Handle {
    /// The API.
    pub client: Client,
    /// Caches, shared with everyone in the scheduler.
    pub informers: InformerFactory,
    /// Time.
    pub clock: SharedClock,
    /// Tells the queue that something changed that may help waiting pods.
    pub notify: Arc<Notifier>,
}

/// The way from plugins' watches to the queue, which is made after the plugins.
#[derive(Default)]
pub struct Notifier(OnceLock<Weak<SchedulingQueue>>);

impl Notifier {
    /// Connects the queue.
    pub fn connect(&self, queue: &Arc<SchedulingQueue>) {
        // A second queue would be a second scheduler with plugins of its own.
        let _ = self.0.set(Arc::downgrade(queue));
    }

    /// Something happened.
    pub fn notify(&self, event: ClusterEvent) {
        if let Some(queue) = self.0.get().and_then(Weak::upgrade) {
            queue.notify(event);
        }
    }
}

/// The plugins of one profile, by extension point, in order.
#[derive(Default)]
pub struct Framework {
    /// Hold pods back.
    pub pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    /// Look at the pod.
    pub pre_filter: Vec<Arc<dyn PreFilter>>,
    /// Look at each node.
    pub filter: Vec<Arc<dyn Filter>>,
    /// Compare nodes.
    pub score: Vec<Arc<dyn Score>>,
    /// Act before binding.
    pub pre_bind: Vec<Arc<dyn PreBind>>,
}

/// Why no node was found.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Number of nodes looked at.
    pub nodes: usize,
    /// The first no of each node.
    pub by_node: BTreeMap<String, Rejection>,
    /// The plugins that said no.
    pub plugins: BTreeSet<&'static str>,
    /// Said by a pre-filter: about the pod, not about a node.
    pub message: Option<String>,
}

impl std::fmt::Display for Diagnosis {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available: ", self.nodes)?;
        if let Some(message) = &self.message {
            return write!(f, "{message}.");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.by_node.values().flat_map(|rejection| &rejection.reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let mut lines: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        lines.sort();
        write!(f, "{}.", lines.join(", "))
    }
}

impl Framework {
    /// Runs the pre-filters; the plugin that said no and why.
    pub fn run_pre_filters(&self, cycle: &mut Cycle) -> Result<(), (&'static str, Rejection)> {
        for plugin in &self.pre_filter {
            plugin.pre_filter(cycle).map_err(|rejection| (plugin.name(), rejection))?;
        }
        Ok(())
    }

    /// Runs the filters on one node; the plugin that said no and why.
    pub fn run_filters(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), (&'static str, Rejection)> {
        for plugin in self.filter.iter().filter(|plugin| !cycle.skips(plugin.name())) {
            plugin.filter(cycle, node).map_err(|rejection| (plugin.name(), rejection))?;
        }
        Ok(())
    }

    /// The weighted sum of all scores, per node.
    pub fn run_scores(&self, cycle: &Cycle, nodes: &[Arc<NodeInfo>]) -> Vec<i64> {
        let mut totals = vec![0; nodes.len()];
        for plugin in self.score.iter().filter(|plugin| !cycle.skips(plugin.name())) {
            let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(cycle, node)).collect();
            plugin.normalize(cycle, &mut scores);
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score.clamp(0, MAX_NODE_SCORE) * plugin.weight();
            }
        }
        totals
    }

    /// Whether one of `plugins` thinks that `event` may help.
    pub fn may_help(&self, plugins: &BTreeSet<&'static str>, event: ClusterEvent) -> bool {
        let helps = |plugin: &dyn Plugin| plugins.contains(plugin.name()) && plugin.may_help(event);
        self.filter.iter().any(|p| helps(p.as_ref()))
            || self.pre_filter.iter().any(|p| helps(p.as_ref()))
            || self.pre_bind.iter().any(|p| helps(p.as_ref()))
    }
}

/// Scales scores so that the best is [`MAX_NODE_SCORE`]; with `reverse`, the best is the lowest.
pub fn default_normalize(scores: &mut [i64], reverse: bool) {
    let top = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if top == 0 { 0 } else { *score * MAX_NODE_SCORE / top };
        *score = if reverse { MAX_NODE_SCORE - scaled } else { scaled };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnosis_counts_reasons() {
        let mut diagnosis = Diagnosis { nodes: 3, ..Diagnosis::default() };
        diagnosis.by_node.insert("a".into(), Rejection::resolvable("Insufficient cpu"));
        diagnosis.by_node.insert("b".into(), Rejection::resolvable("Insufficient cpu"));
        diagnosis.by_node.insert("c".into(), Rejection::unresolvable("node(s) were unschedulable"));
        assert_eq!(
            diagnosis.to_string(),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
        );
    }
}
