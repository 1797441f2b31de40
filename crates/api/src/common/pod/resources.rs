//! Resource requests and limits.

use crate::common::{amounts, names};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeMap;

/// Resources without a domain that containers may ask for, besides huge pages.
const CONTAINER: &[&str] = &["cpu", "ephemeral-storage", "memory"];
/// Resources without a domain that exist at all.
const STANDARD: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether the name is outside Kubernetes' own domain: a device or another extension.
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Whether a resource cannot be had in fractions.
fn is_whole(name: &str) -> bool {
    is_extended(name)
        || [
            "configmaps",
            "persistentvolumeclaims",
            "pods",
            "replicationcontrollers",
            "resourcequotas",
            "secrets",
            "services",
            "services.loadbalancers",
            "services.nodeports",
        ]
        .contains(&name)
}

/// Reports a malformed or unknown resource name.
pub fn resource_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        names::report(path.clone(), name, messages, errors);
    } else if !name.contains('/') && !STANDARD.contains(&name) && !is_huge_page(name) {
        errors.invalid(path.clone(), name, "must be a standard resource type or fully qualified");
    }
}

fn container_resource_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let before = errors.0.len();
    resource_name(name, path, errors);
    if errors.0.len() == before && !name.contains('/') && !CONTAINER.contains(&name) && !is_huge_page(name) {
        errors.invalid(path.clone(), name, "must be a standard resource for containers");
    }
}

/// Reports an amount that is negative, malformed, or a fraction of something indivisible.
pub fn amount(name: &str, quantity: &Quantity, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(parsed) = amounts::parse(quantity) else {
        errors.invalid(
            path.clone(),
            &quantity.0,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        );
        return;
    };
    if amounts::is_negative(&parsed) {
        errors.invalid(path.clone(), amounts::canonical(quantity), "must be greater than or equal to 0");
    }
    if is_whole(name) && !amounts::is_integer(&parsed) {
        errors.invalid(path.clone(), amounts::canonical(quantity), "must be an integer");
    }
}

/// Reports bad requests and limits of a container at `path` (its `resources`).
pub fn validate(requirements: &ResourceRequirements, path: &FieldPath, errors: &mut FieldErrors) {
    let empty = BTreeMap::new();
    let limits = requirements.limits.as_ref().unwrap_or(&empty);
    let requests = requirements.requests.as_ref().unwrap_or(&empty);
    for (name, quantity) in limits {
        let at = path.child("limits").key(name);
        container_resource_name(name, &at, errors);
        amount(name, quantity, &at, errors);
    }
    for (name, quantity) in requests {
        let at = path.child("requests").key(name);
        container_resource_name(name, &at, errors);
        amount(name, quantity, &at, errors);
        validate_against_limit(name, quantity, limits.get(name), path, errors);
    }
    let mut used = limits.keys().chain(requests.keys());
    let huge = used.clone().any(|name| is_huge_page(name));
    if huge && !used.any(|name| name == "cpu" || name == "memory") {
        errors.forbidden(path.clone(), "HugePages require cpu or memory");
    }
}

fn validate_against_limit(
    name: &str,
    quantity: &Quantity,
    limit: Option<&Quantity>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    // What cannot be shared cannot be promised twice either.
    let exact = is_extended(name) || is_huge_page(name);
    let Some(limit) = limit else {
        if exact {
            errors.required(path.child("limits"), "Limit must be set for non overcommitable resources");
        }
        return;
    };
    let at = path.child("requests");
    let (asked, most) = (amounts::canonical(quantity), amounts::canonical(limit));
    match amounts::compare(quantity, limit) {
        Some(order) if exact && order.is_ne() => {
            errors.invalid(at, asked, format!("must be equal to {name} limit of {most}"));
        }
        Some(std::cmp::Ordering::Greater) => {
            errors.invalid(at, asked, format!("must be less than or equal to {name} limit of {most}"));
        }
        _ => {}
    }
}
