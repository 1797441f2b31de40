//! `InterPodAffinity`: pods that want to be near others, or away from them, by labels and topology.

use crate::cache::{NodeInfo, PodInfo};
use crate::framework::{
    ClusterEvent, Cycle, Filter, Framework, Handle, MAX_NODE_SCORE, Plugin, PreFilter, Rejection, Score,
};
use api::common::selector::convert;
use client::Informer;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use machinery::labels::Selector;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NAME: &str = "InterPodAffinity";

struct InterPodAffinity {
    namespaces: Informer<Namespace>,
}

/// A term made ready to be asked of many pods.
struct Term {
    key: String,
    selector: Selector,
    namespaces: BTreeSet<String>,
}

/// A value of a topology key: one domain.
type Domain = (String, String);

#[derive(Default)]
struct State {
    affinity: Vec<Term>,
    anti_affinity: Vec<Term>,
    /// Per affinity term, the domains with a matching pod.
    wanted: Vec<BTreeSet<String>>,
    /// Domains with a pod that the incoming one must avoid.
    avoided: BTreeSet<Domain>,
    /// Domains with a pod that avoids the incoming one.
    guarded: BTreeSet<Domain>,
    /// No pod anywhere matches, but the incoming one matches itself: the first of its kind may start.
    first: bool,
    /// Preferences by domain.
    scores: BTreeMap<Domain, i64>,
}

pub(super) fn register(framework: &mut Framework, handle: &Handle) {
    let plugin = Arc::new(InterPodAffinity { namespaces: handle.informers.informer() });
    framework.pre_filter.push(plugin.clone());
    framework.filter.push(plugin.clone());
    framework.score.push(plugin);
}

fn required(pod: &Pod, anti: bool) -> Vec<PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let terms = if anti {
        affinity.and_then(|a| {
            a.pod_anti_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.clone()
        })
    } else {
        affinity.and_then(|a| {
            a.pod_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.clone()
        })
    };
    terms.unwrap_or_default()
}

fn preferred(pod: &Pod, anti: bool) -> Vec<WeightedPodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let terms = if anti {
        affinity.and_then(|a| {
            a.pod_anti_affinity.as_ref()?.preferred_during_scheduling_ignored_during_execution.clone()
        })
    } else {
        affinity.and_then(|a| {
            a.pod_affinity.as_ref()?.preferred_during_scheduling_ignored_during_execution.clone()
        })
    };
    terms.unwrap_or_default()
}

/// The selector with what `matchLabelKeys` and `mismatchLabelKeys` take from the pod (KEP-3633).
fn with_keys(term: &PodAffinityTerm, pod: &Pod) -> Option<LabelSelector> {
    let mut selector = term.label_selector.clone()?;
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let keys = |list: &Option<Vec<String>>, operator: &str| -> Vec<LabelSelectorRequirement> {
        let present = list.iter().flatten().filter_map(|key| Some((key, labels.get(key)?)));
        let requirement = |(key, value): (&String, &String)| LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        };
        present.map(requirement).collect()
    };
    let expressions = selector.match_expressions.get_or_insert_default();
    expressions.extend(keys(&term.match_label_keys, "In"));
    expressions.extend(keys(&term.mismatch_label_keys, "NotIn"));
    Some(selector)
}

impl Term {
    fn matches(&self, pod: &Pod) -> bool {
        pod.metadata.namespace.as_ref().is_some_and(|namespace| self.namespaces.contains(namespace))
            && self.selector.matches(&pod.metadata.labels)
    }

    fn domain(&self, node: &NodeInfo) -> Option<Domain> {
        Some((self.key.clone(), node.labels()?.get(&self.key)?.clone()))
    }
}

impl InterPodAffinity {
    fn term(&self, term: &PodAffinityTerm, owner: &Pod) -> Term {
        let selector = with_keys(term, owner).and_then(|selector| convert(Some(&selector)).ok());
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        match &term.namespace_selector {
            Some(wanted) => {
                let wanted = convert(Some(wanted)).unwrap_or_else(|_| Selector::nothing());
                let all = self.namespaces.store().list();
                let chosen = all.iter().filter(|namespace| wanted.matches(&namespace.metadata.labels));
                namespaces.extend(chosen.filter_map(|namespace| namespace.metadata.name.clone()));
            }
            None if namespaces.is_empty() => namespaces.extend(owner.metadata.namespace.clone()),
            None => {}
        }
        Term {
            key: term.topology_key.clone(),
            selector: selector.unwrap_or_else(Selector::nothing),
            namespaces,
        }
    }

    fn terms(&self, pod: &Pod, anti: bool) -> Vec<Term> {
        required(pod, anti).iter().map(|term| self.term(term, pod)).collect()
    }

    fn weighted(&self, pod: &Pod) -> Vec<(Term, i64)> {
        let with = |anti: bool, sign: i64| {
            let terms = preferred(pod, anti);
            terms.into_iter().map(move |each| (each.pod_affinity_term, sign * i64::from(each.weight)))
        };
        with(false, 1).chain(with(true, -1)).map(|(term, weight)| (self.term(&term, pod), weight)).collect()
    }

    fn look_at(
        &self,
        state: &mut State,
        incoming: &Pod,
        weighted: &[(Term, i64)],
        node: &NodeInfo,
        other: &PodInfo,
    ) {
        let pod = &other.pod;
        for (term, domains) in state.affinity.iter().zip(&mut state.wanted) {
            if term.matches(pod)
                && let Some((_, value)) = term.domain(node)
            {
                domains.insert(value);
            }
        }
        state
            .avoided
            .extend(state.anti_affinity.iter().filter(|t| t.matches(pod)).filter_map(|t| t.domain(node)));
        for (term, weight) in weighted {
            if term.matches(pod)
                && let Some(domain) = term.domain(node)
            {
                *state.scores.entry(domain).or_default() += weight;
            }
        }
        if pod.spec.as_ref().is_none_or(|spec| spec.affinity.is_none()) {
            return;
        }
        let theirs = self.terms(pod, true);
        state.guarded.extend(theirs.iter().filter(|t| t.matches(incoming)).filter_map(|t| t.domain(node)));
        for (term, weight) in self.weighted(pod) {
            if term.matches(incoming)
                && let Some(domain) = term.domain(node)
            {
                *state.scores.entry(domain).or_default() += weight;
            }
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, event: ClusterEvent) -> bool {
        !matches!(event, ClusterEvent::Storage | ClusterEvent::NodeAllocatable | ClusterEvent::NodeTaints)
    }
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(&self, cycle: &mut Cycle) -> Result<(), Rejection> {
        let incoming = cycle.pod.pod.clone();
        let mut state = State {
            affinity: self.terms(&incoming, false),
            anti_affinity: self.terms(&incoming, true),
            ..State::default()
        };
        state.wanted.resize(state.affinity.len(), BTreeSet::new());
        let weighted = self.weighted(&incoming);
        for node in cycle.nodes.values() {
            for other in node.pods.values() {
                self.look_at(&mut state, &incoming, &weighted, node, other);
            }
        }
        state.first = state.wanted.iter().all(BTreeSet::is_empty)
            && state.affinity.iter().all(|t| t.matches(&incoming));
        let nothing = state.affinity.is_empty() && state.avoided.is_empty() && state.guarded.is_empty();
        if nothing && state.scores.is_empty() {
            cycle.skip(NAME);
        }
        cycle.put(NAME, state);
        Ok(())
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Result<(), Rejection> {
        let Some(state) = cycle.get::<State>(NAME) else { return Ok(()) };
        let labels = node.labels();
        let here = |domains: &BTreeSet<Domain>| {
            domains.iter().any(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        };
        for (term, domains) in state.affinity.iter().zip(&state.wanted) {
            let own = labels.and_then(|labels| labels.get(&term.key));
            if !own.is_some_and(|own| state.first || domains.contains(own)) {
                return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules"));
            }
        }
        if here(&state.avoided) {
            return Err(Rejection::resolvable("node(s) didn't match pod anti-affinity rules"));
        }
        if here(&state.guarded) {
            return Err(Rejection::resolvable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

impl Score for InterPodAffinity {
    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let Some(state) = cycle.get::<State>(NAME) else { return 0 };
        let labels = node.labels();
        let applies = |key: &String, value: &String| labels.and_then(|labels| labels.get(key)) == Some(value);
        state.scores.iter().filter(|((key, value), _)| applies(key, value)).map(|(_, score)| score).sum()
    }

    fn normalize(&self, _: &Cycle, scores: &mut [i64]) {
        let (low, high) =
            (scores.iter().min().copied().unwrap_or(0), scores.iter().max().copied().unwrap_or(0));
        for score in scores {
            *score = if high == low { 0 } else { (*score - low) * MAX_NODE_SCORE / (high - low) };
        }
    }
}
