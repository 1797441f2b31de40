//! Where a pod may run: node selectors, affinity, tolerations, spreading, gates.

use crate::common::{items, names, numbers, selector, text};
use k8s_openapi::api::core::v1::*;
use machinery::{FieldErrors, FieldPath};
use serde_json::json;
use std::collections::BTreeSet;

/// Reports bad scheduling fields of a pod spec.
pub(super) fn validate(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(labels) = &spec.node_selector {
        names::validate_labels(labels, &path.child("nodeSelector"), errors);
    }
    tolerations(items(&spec.tolerations), &path.child("tolerations"), errors);
    if let Some(affinity) = &spec.affinity {
        validate_affinity(affinity, &path.child("affinity"), errors);
    }
    spread(items(&spec.topology_spread_constraints), &path.child("topologySpreadConstraints"), errors);
    let mut seen = BTreeSet::new();
    for (at, gate) in items(&spec.scheduling_gates).iter().enumerate() {
        let at = path.child("schedulingGates").index(at);
        names::report(at.child("name"), &gate.name, names::qualified_name(&gate.name), errors);
        if !seen.insert(&gate.name) {
            errors.duplicate(at, &gate.name);
        }
    }
}

/// Reports bad tolerations.
pub(super) fn tolerations(list: &[Toleration], path: &FieldPath, errors: &mut FieldErrors) {
    for (at, toleration) in list.iter().enumerate() {
        let at = path.index(at);
        let (key, operator) = (text(&toleration.key), text(&toleration.operator));
        if !key.is_empty() {
            names::report(at.child("key"), key, names::qualified_name(key), errors);
        }
        if key.is_empty() && operator != "Exists" {
            errors.invalid(
                at.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        let effect = text(&toleration.effect);
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            errors.invalid(
                at.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        let value = text(&toleration.value);
        match operator {
            "" | "Equal" => {
                let messages = names::label_value(value);
                if !messages.is_empty() {
                    errors.invalid(at.child("operator"), value, messages.join(";"));
                }
            }
            "Exists" if !value.is_empty() => errors.invalid(
                at.child("operator"),
                json!({"key": key, "operator": operator, "value": value}),
                "value must be empty when `operator` is 'Exists'",
            ),
            "Exists" => {}
            other => errors.not_supported(at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(effect, at.child("effect"), errors);
        }
    }
}

/// Reports an unknown effect of a taint.
pub fn taint_effect(effect: &str, path: FieldPath, errors: &mut FieldErrors) {
    const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];
    if effect.is_empty() {
        errors.required(path, "");
    } else if !EFFECTS.contains(&effect) {
        errors.not_supported(path, effect, EFFECTS);
    }
}

fn validate_affinity(affinity: &Affinity, path: &FieldPath, errors: &mut FieldErrors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            node_selector(selector, &path.child(REQUIRED), errors);
        }
        let preferred = items(&node.preferred_during_scheduling_ignored_during_execution);
        for (at, term) in preferred.iter().enumerate() {
            let at = path.child(PREFERRED).index(at);
            weight(term.weight, &at, errors);
            node_selector_term(&term.preference, &at.child("preference"), errors);
        }
    }
    let pods = [
        (
            "podAffinity",
            affinity.pod_affinity.as_ref().map(|a| {
                (
                    &a.required_during_scheduling_ignored_during_execution,
                    &a.preferred_during_scheduling_ignored_during_execution,
                )
            }),
        ),
        (
            "podAntiAffinity",
            affinity.pod_anti_affinity.as_ref().map(|a| {
                (
                    &a.required_during_scheduling_ignored_during_execution,
                    &a.preferred_during_scheduling_ignored_during_execution,
                )
            }),
        ),
    ];
    for (field, terms) in pods {
        let Some((required, preferred)) = terms else { continue };
        let path = path.child(field);
        for (at, term) in items(required).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(at), errors);
        }
        for (at, term) in items(preferred).iter().enumerate() {
            let at = path.child(PREFERRED).index(at);
            weight(term.weight, &at, errors);
            pod_term(&term.pod_affinity_term, &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(weight: i32, path: &FieldPath, errors: &mut FieldErrors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn pod_term(term: &PodAffinityTerm, path: &FieldPath, errors: &mut FieldErrors) {
    for (field, labels) in
        [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(labels) = labels {
            selector::validate(labels, &path.child(field), errors);
        }
    }
    for namespace in items(&term.namespaces) {
        names::report(path.child("namespace"), namespace, names::dns1123_label(namespace), errors);
    }
    if term.topology_key.is_empty() {
        errors.required(path.child("topologyKey"), "can not be empty");
    } else {
        let at = path.child("topologyKey");
        names::report(at, &term.topology_key, names::qualified_name(&term.topology_key), errors);
    }
}

/// Reports a malformed node selector.
pub fn node_selector(selector: &NodeSelector, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required(path.clone(), "must have at least one node selector term");
    }
    for (at, term) in selector.node_selector_terms.iter().enumerate() {
        node_selector_term(term, &path.index(at), errors);
    }
}

fn node_selector_term(term: &NodeSelectorTerm, path: &FieldPath, errors: &mut FieldErrors) {
    for (at, requirement) in items(&term.match_expressions).iter().enumerate() {
        node_expression(requirement, &path.child("matchExpressions").index(at), errors);
    }
    for (at, requirement) in items(&term.match_fields).iter().enumerate() {
        let at = path.child("matchFields").index(at);
        match requirement.operator.as_str() {
            "In" | "NotIn" if items(&requirement.values).len() != 1 => errors.required(
                at.child("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ),
            "In" | "NotIn" => {}
            other => errors.invalid(at.child("operator"), other, "not a valid selector operator"),
        }
        if requirement.key != "metadata.name" {
            errors.invalid(at.child("key"), &requirement.key, "not a valid field selector key");
        }
    }
}

fn node_expression(requirement: &NodeSelectorRequirement, path: &FieldPath, errors: &mut FieldErrors) {
    let values = items(&requirement.values);
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
            path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "Gt" | "Lt" if values.len() != 1 => errors
            .required(path.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(path.child("operator"), other, "not a valid selector operator"),
    }
    names::report(path.child("key"), &requirement.key, names::qualified_name(&requirement.key), errors);
    for (at, value) in values.iter().enumerate() {
        names::report(path.child("values").index(at), value, names::label_value(value), errors);
    }
}

fn spread(list: &[TopologySpreadConstraint], path: &FieldPath, errors: &mut FieldErrors) {
    const ACTIONS: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
    let mut seen = BTreeSet::new();
    for (at, constraint) in list.iter().enumerate() {
        let at = path.index(at);
        if constraint.max_skew <= 0 {
            errors.invalid(at.child("maxSkew"), constraint.max_skew, numbers::POSITIVE);
        }
        if constraint.topology_key.is_empty() {
            errors.required(at.child("topologyKey"), "can not be empty");
        } else {
            let key = &constraint.topology_key;
            names::report(at.child("topologyKey"), key, names::qualified_name(key), errors);
        }
        let action = constraint.when_unsatisfiable.as_str();
        if !ACTIONS.contains(&action) {
            errors.not_supported(at.child("whenUnsatisfiable"), action, ACTIONS);
        }
        let pair = format!("{{{}, {action}}}", constraint.topology_key);
        if !seen.insert(pair.clone()) {
            errors.duplicate(at.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        if let Some(domains) = constraint.min_domains {
            numbers::positive(domains, at.child("minDomains"), errors);
            if action != "DoNotSchedule" {
                errors.invalid(
                    at.child("minDomains"),
                    domains,
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"),
                );
            }
        }
        if let Some(labels) = &constraint.label_selector {
            selector::validate(labels, &at.child("labelSelector"), errors);
        }
    }
}
