//! Which objects a quota is about: its scopes.

use crate::Object;
use crate::common::{items, text};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, PodSpec, ResourceQuota, ScopedResourceSelectorRequirement,
};

/// Whether `object` is in every scope of `quota`.
pub fn matches(quota: &ResourceQuota, object: &dyn Object) -> bool {
    let Some(spec) = &quota.spec else { return false };
    let plain = items(&spec.scopes).iter().all(|scope| holds(scope, "Exists", &[], object));
    let selected = spec.scope_selector.as_ref().map(|s| items(&s.match_expressions)).unwrap_or_default();
    plain
        && selected.iter().all(|ScopedResourceSelectorRequirement { scope_name, operator, values }| {
            holds(scope_name, operator, items(values), object)
        })
}

fn holds(scope: &str, operator: &str, values: &[String], object: &dyn Object) -> bool {
    if scope == "VolumeAttributesClass" {
        let Some(claim) = object.downcast_ref::<PersistentVolumeClaim>() else { return false };
        let class = claim.spec.as_ref().map(|s| text(&s.volume_attributes_class_name)).unwrap_or_default();
        return selects(operator, values, class);
    }
    let Some(pod) = object.downcast_ref::<Pod>() else { return false };
    let Some(spec) = &pod.spec else { return false };
    match scope {
        "Terminating" => spec.active_deadline_seconds.is_some(),
        "NotTerminating" => spec.active_deadline_seconds.is_none(),
        "BestEffort" => best_effort(spec),
        "NotBestEffort" => !best_effort(spec),
        "PriorityClass" => selects(operator, values, text(&spec.priority_class_name)),
        "CrossNamespacePodAffinity" => crosses_namespaces(spec),
        _ => false,
    }
}

fn selects(operator: &str, values: &[String], class: &str) -> bool {
    match operator {
        "In" => values.iter().any(|value| value == class),
        "NotIn" => !values.iter().any(|value| value == class),
        "DoesNotExist" => class.is_empty(),
        _ => !class.is_empty(),
    }
}

fn best_effort(spec: &PodSpec) -> bool {
    let all = spec.containers.iter().chain(items(&spec.init_containers));
    let containers = all.filter_map(|c| c.resources.as_ref()).chain(spec.resources.as_ref());
    let counted = |name: &String| name == "cpu" || name == "memory";
    !containers.flat_map(|r| r.requests.iter().flatten().chain(r.limits.iter().flatten())).any(
        |(name, amount)| counted(name) && crate::common::amounts::parse(amount).is_some_and(|a| !a.is_zero()),
    )
}

fn crosses_namespaces(spec: &PodSpec) -> bool {
    let crosses =
        |term: &PodAffinityTerm| !items(&term.namespaces).is_empty() || term.namespace_selector.is_some();
    let Some(affinity) = &spec.affinity else { return false };
    let mut terms: Vec<&PodAffinityTerm> = Vec::new();
    if let Some(a) = &affinity.pod_affinity {
        terms.extend(items(&a.required_during_scheduling_ignored_during_execution));
        let preferred = items(&a.preferred_during_scheduling_ignored_during_execution);
        terms.extend(preferred.iter().map(|p| &p.pod_affinity_term));
    }
    if let Some(a) = &affinity.pod_anti_affinity {
        terms.extend(items(&a.required_during_scheduling_ignored_during_execution));
        let preferred = items(&a.preferred_during_scheduling_ignored_during_execution);
        terms.extend(preferred.iter().map(|p| &p.pod_affinity_term));
    }
    terms.into_iter().any(crosses)
}
