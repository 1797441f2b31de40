//! A new pod: defaults beyond those of templates, initial status, validation.

use crate::common::amounts::Amounts;
use crate::common::pod::{defaults, qos, spec};
use crate::common::{default, first_generation, items, text};
use k8s_openapi::api::core::v1::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeMap;

pub(super) fn defaults(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    defaults::spec(spec);
    default(&mut spec.enable_service_links, true);
    let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    for resources in containers.filter_map(|container| container.resources.as_mut()) {
        request_limits(resources);
    }
    if let Some(resources) = &mut spec.resources {
        request_limits(resources);
    }
    if spec.host_network == Some(true) {
        let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
        for port in containers.flat_map(|container| container.ports.iter_mut().flatten()) {
            if port.host_port.unwrap_or_default() == 0 {
                port.host_port = Some(port.container_port);
            }
        }
    }
    if let Some(status) = &mut pod.status {
        super::mirror_ip(status);
    }
}

/// What is limited and not requested is requested up to its limit.
fn request_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests: &mut Amounts = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    if requests.is_empty() {
        resources.requests = None;
    }
}

pub(super) fn prepare(pod: &mut Pod) {
    first_generation(&mut pod.metadata);
    let spec = pod.spec.get_or_insert_default();
    let gated = !items(&spec.scheduling_gates).is_empty();
    let status = PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(qos::class(spec).to_owned()),
        conditions: gated.then(|| {
            vec![PodCondition {
                type_: "PodScheduled".to_owned(),
                status: "False".to_owned(),
                reason: Some("SchedulingGated".to_owned()),
                message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
                ..PodCondition::default()
            }]
        }),
        ..PodStatus::default()
    };
    pod.status = Some(status);
    if let Some(labels) = &pod.metadata.labels {
        match_label_keys(spec, labels);
    }
}

/// `matchLabelKeys` of affinity terms mean "like this pod": they become requirements of the selector
/// (KEP-3633).
fn match_label_keys(spec: &mut PodSpec, labels: &BTreeMap<String, String>) {
    let Some(affinity) = &mut spec.affinity else { return };
    let mut terms: Vec<&mut PodAffinityTerm> = Vec::new();
    if let Some(pods) = &mut affinity.pod_affinity {
        terms.extend(pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten());
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        terms.extend(preferred.map(|term| &mut term.pod_affinity_term));
    }
    if let Some(pods) = &mut affinity.pod_anti_affinity {
        terms.extend(pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten());
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        terms.extend(preferred.map(|term| &mut term.pod_affinity_term));
    }
    for term in terms {
        let Some(selector) = &mut term.label_selector else { continue };
        let keys = [("In", &term.match_label_keys), ("NotIn", &term.mismatch_label_keys)];
        for (operator, keys) in keys {
            for key in items(keys) {
                let Some(value) = labels.get(key) else { continue };
                selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: operator.to_owned(),
                    values: Some(vec![value.clone()]),
                });
            }
        }
    }
}

pub(super) fn validate(pod: &Pod, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    spec::validate(spec, &path, errors);
    if !text(&spec.node_name).is_empty() && !items(&spec.scheduling_gates).is_empty() {
        errors.forbidden(path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}
