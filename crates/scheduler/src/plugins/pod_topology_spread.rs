//! `PodTopologySpread`: keeps like pods even over domains (`spec.topologySpreadConstraints`; KEP-895, KEP-3022,
//! KEP-3094, KEP-3243). Deliberately absent: default constraints for pods that have none.

use super::node_affinity::allows;
use super::taint_toleration::repels;
use crate::cache::NodeInfo;
use crate::framework::{
    ClusterEvent, Cycle, Filter, Framework, Handle, Plugin, PreFilter, Rejection, Score, default_normalize,
};
use api::common::selector::convert;
use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use machinery::labels::Selector;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "PodTopologySpread";

struct PodTopologySpread;

/// A constraint of the pod and how its like are spread now.
struct Spread {
    constraint: TopologySpreadConstraint,
    selector: Selector,
    /// Matching pods by domain, of the nodes that count.
    domains: BTreeMap<String, i64>,
    /// Whether the pod itself matches: 1 or 0.
    own: i64,
}

/// All constraints of the pod in this cycle, hard and soft.
struct Spreads(Vec<Spread>);

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    let plugin = Arc::new(PodTopologySpread);
    framework.pre_filter.push(plugin.clone());
    framework.filter.push(plugin.clone());
    framework.score.push(plugin);
}

fn hard(constraint: &TopologySpreadConstraint) -> bool {
    constraint.when_unsatisfiable == "DoNotSchedule"
}

/// The constraint's selector, with the values that the pod has for `matchLabelKeys`.
fn selector(constraint: &TopologySpreadConstraint, pod: &Pod) -> Selector {
    let Some(mut wanted) = constraint.label_selector.clone() else { return Selector::nothing() };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = labels.get(key) {
            wanted.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
    }
    convert(Some(&wanted)).unwrap_or_else(|_| Selector::nothing())
}

/// Whether a node's pods count for a constraint (nodeAffinityPolicy, nodeTaintsPolicy).
fn counts(constraint: &TopologySpreadConstraint, pod: &Pod, node: &NodeInfo) -> bool {
    let honors = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
    (!honors(&constraint.node_affinity_policy, "Honor") || allows(pod, node))
        && (!honors(&constraint.node_taints_policy, "Ignore") || !repels(pod, node))
}

fn domain<'a>(node: &'a NodeInfo, key: &str) -> Option<&'a str> {
    node.labels()?.get(key).map(String::as_str)
}

fn matching(node: &NodeInfo, selector: &Selector, namespace: Option<&str>) -> i64 {
    let like = node.pods.values().filter(|pod| {
        let meta = &pod.pod.metadata;
        meta.namespace.as_deref() == namespace
            && meta.deletion_timestamp.is_none()
            && selector.matches(&meta.labels)
    });
    i64::try_from(like.count()).unwrap_or(i64::MAX)
}

fn spread(constraint: &TopologySpreadConstraint, all: &[TopologySpreadConstraint], cycle: &Cycle) -> Spread {
    let pod = &cycle.pod.pod;
    let selector = selector(constraint, pod);
    let mut domains = BTreeMap::new();
    // A node must have the keys of all constraints of its kind to be one of the domains.
    let keys: Vec<&str> = all
        .iter()
        .filter(|other| hard(other) == hard(constraint))
        .map(|other| other.topology_key.as_str())
        .collect();
    for node in cycle.nodes.values().filter(|node| counts(constraint, pod, node)) {
        if !keys.iter().all(|key| domain(node, key).is_some()) {
            continue;
        }
        if let Some(name) = domain(node, &constraint.topology_key) {
            let found = matching(node, &selector, pod.metadata.namespace.as_deref());
            *domains.entry(name.to_owned()).or_insert(0) += found;
        }
    }
    let own = i64::from(selector.matches(&pod.metadata.labels));
    Spread { constraint: constraint.clone(), selector, domains, own }
}

impl Spread {
    /// The fewest like pods of a domain; 0 while there are fewer domains than `minDomains`.
    fn least(&self) -> i64 {
        let domains = i32::try_from(self.domains.len()).unwrap_or(i32::MAX);
        if domains < self.constraint.min_domains.unwrap_or(1) {
            return 0;
        }
        self.domains.values().copied().min().unwrap_or(0)
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        !matches!(event, ClusterEvent::Storage | ClusterEvent::NodeAllocatable)
    }
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(&self, cycle: &mut Cycle) -> Result<(), Rejection> {
        let spec = cycle.pod.pod.spec.clone();
        let constraints = spec.and_then(|spec| spec.topology_spread_constraints).unwrap_or_default();
        if constraints.is_empty() {
            cycle.skip(NAME);
            return Ok(());
        }
        let spreads = constraints.iter().map(|constraint| spread(constraint, &constraints, cycle)).collect();
        cycle.put(NAME, Spreads(spreads));
        Ok(())
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(Spreads(spreads)) = cycle.get(NAME) else { return Ok(()) };
        for spread in spreads.iter().filter(|spread| hard(&spread.constraint)) {
            let Some(name) = domain(node, &spread.constraint.topology_key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::unresolvable(reason));
            };
            let here = spread.domains.get(name).copied().unwrap_or(0);
            if here + spread.own - spread.least() > i64::from(spread.constraint.max_skew) {
                return Err(Rejection::resolvable("node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }
}

impl Score for PodTopologySpread {
    fn weight(&self) -> i64 {
        2
    }

    /// The like pods of the node's domains: fewer are better.
    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let Some(Spreads(spreads)) = cycle.get(NAME) else { return 0 };
        let soft = spreads.iter().filter(|spread| !hard(&spread.constraint));
        soft.map(|spread| {
            let key = &spread.constraint.topology_key;
            match domain(node, key) {
                // Domains of one node each need no sum over their nodes.
                Some(_) if key == "kubernetes.io/hostname" => {
                    matching(node, &spread.selector, cycle.pod.pod.metadata.namespace.as_deref())
                }
                Some(name) => spread.domains.get(name).copied().unwrap_or(0),
                None => spread.domains.values().copied().max().unwrap_or(0) + 1,
            }
        })
        .sum()
    }

    fn normalize(&self, _: &Cycle, scores: &mut [i64]) {
        default_normalize(scores, true);
    }
}
