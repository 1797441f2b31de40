//! Quality of service: how a pod ranks when a node runs out of memory.
//!
//! Source: documentation, "Pod Quality of Service Classes"; KEP-2837 for resources of whole pods.

use crate::common::amounts::{self, Amounts};
use crate::common::items;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(spec: &PodSpec) -> &'static str {
    let pod_level = spec.resources.as_ref().filter(|r| asks(&r.requests) || asks(&r.limits));
    if let Some(resources) = pod_level {
        return if is_exact(resources) { "Guaranteed" } else { "Burstable" };
    }
    let containers: Vec<&Container> = spec.containers.iter().chain(items(&spec.init_containers)).collect();
    let resources: Vec<Option<&ResourceRequirements>> =
        containers.iter().map(|c| c.resources.as_ref()).collect();
    if !resources.iter().flatten().any(|r| asks(&r.requests) || asks(&r.limits)) {
        return "BestEffort";
    }
    if resources.iter().all(|r| r.is_some_and(is_exact)) { "Guaranteed" } else { "Burstable" }
}

/// Whether any CPU or memory is named.
fn asks(amounts: &Option<Amounts>) -> bool {
    COUNTED.iter().any(|name| positive(amounts, name))
}

fn positive(amounts: &Option<Amounts>, name: &str) -> bool {
    let amount = amounts.as_ref().and_then(|a| a.get(name)).and_then(amounts::parse);
    amount.is_some_and(|amount| amount.sign() > 0)
}

/// Whether CPU and memory are limited, and requested up to the limit.
fn is_exact(resources: &ResourceRequirements) -> bool {
    let limits = resources.limits.as_ref();
    let requests = resources.requests.as_ref();
    COUNTED.iter().all(|name| {
        let Some(limit) = limits.and_then(|l| l.get(*name)) else { return false };
        let request = requests.and_then(|r| r.get(*name));
        positive(&resources.limits, name) && request.is_none_or(|request| amounts::equal(request, limit))
    })
}
