//! What an object takes of each resource that a quota can limit.

use crate::common::amounts::{Amounts, parse};
use crate::common::{items, text};
use crate::{Object, ResourceDef};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, Pod, PodSpec, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::{Format, Quantity as Amount};
use std::collections::BTreeMap;

/// Resource name → amount.
pub type Usage = BTreeMap<String, Amount>;

/// Core resources that may be limited by their plain name.
const PLAIN: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

fn one() -> Amount {
    Amount::new(1, Format::DecimalSi)
}

/// What `object` takes.
pub fn of(def: &ResourceDef, object: &dyn Object) -> Usage {
    let mut usage = Usage::new();
    let plural = &def.plural;
    if def.gvk.group.is_empty() {
        usage.insert(format!("count/{plural}"), one());
        if PLAIN.contains(&plural.as_ref()) {
            usage.insert(plural.to_string(), one());
        }
    } else {
        usage.insert(format!("count/{plural}.{}", def.gvk.group), one());
    }
    if let Some(pod) = object.downcast_ref::<Pod>() {
        pod_usage(pod, &mut usage);
    } else if let Some(service) = object.downcast_ref::<Service>() {
        service_usage(service, &mut usage);
    } else if let Some(claim) = object.downcast_ref::<PersistentVolumeClaim>() {
        claim_usage(claim, &mut usage);
    }
    usage
}

/// Whether a pod has ended and takes nothing any more.
pub fn finished(object: &dyn Object) -> bool {
    let phase = object.downcast_ref::<Pod>().and_then(|pod| pod.status.as_ref()).map(|s| text(&s.phase));
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn parsed(amounts: Option<&Amounts>) -> Usage {
    amounts.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), parse(value)?))).collect()
}

fn plus(sum: &mut Usage, more: Usage) {
    for (name, amount) in more {
        sum.entry(name).and_modify(|sum| *sum += amount).or_insert(amount);
    }
}

/// Containers together or the largest init container, plus sidecars and overhead (the scheduler's arithmetic).
fn total(spec: &PodSpec, of: fn(&Container) -> Option<&Amounts>) -> Usage {
    let mut sum = Usage::new();
    for container in &spec.containers {
        plus(&mut sum, parsed(of(container)));
    }
    let mut sidecars = Usage::new();
    let mut peak = Usage::new();
    for container in items(&spec.init_containers) {
        let mut now = parsed(of(container));
        if container.restart_policy.as_deref() == Some("Always") {
            plus(&mut sidecars, now);
            now = sidecars.clone();
        } else {
            plus(&mut now, sidecars.clone());
        }
        for (name, amount) in now {
            peak.entry(name).and_modify(|peak| *peak = (*peak).max(amount)).or_insert(amount);
        }
    }
    plus(&mut sum, sidecars);
    for (name, amount) in peak {
        sum.entry(name).and_modify(|sum| *sum = (*sum).max(amount)).or_insert(amount);
    }
    sum
}

fn pod_usage(pod: &Pod, usage: &mut Usage) {
    let Some(spec) = &pod.spec else { return };
    let mut requests = total(spec, |c| c.resources.as_ref()?.requests.as_ref());
    let mut limits = total(spec, |c| c.resources.as_ref()?.limits.as_ref());
    for (name, amount) in parsed(spec.resources.as_ref().and_then(|r| r.requests.as_ref())) {
        requests.insert(name, amount);
    }
    for (name, amount) in parsed(spec.resources.as_ref().and_then(|r| r.limits.as_ref())) {
        limits.insert(name, amount);
    }
    let overhead = parsed(spec.overhead.as_ref());
    for (name, amount) in &overhead {
        if let Some(limit) = limits.get_mut(name) {
            *limit += *amount;
        }
    }
    plus(&mut requests, overhead);
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), amount);
        }
    }
}

fn service_usage(service: &Service, usage: &mut Usage) {
    let Some(spec) = &service.spec else { return };
    let ports = i64::try_from(items(&spec.ports).len()).unwrap_or(i64::MAX);
    match text(&spec.type_) {
        "NodePort" => {
            usage.insert("services.nodeports".to_owned(), Amount::new(ports, Format::DecimalSi));
        }
        "LoadBalancer" => {
            let assigned = if spec.allocate_load_balancer_node_ports == Some(false) {
                let set = items(&spec.ports).iter().filter(|port| port.node_port.is_some_and(|p| p != 0));
                i64::try_from(set.count()).unwrap_or(i64::MAX)
            } else {
                ports
            };
            usage.insert("services.nodeports".to_owned(), Amount::new(assigned, Format::DecimalSi));
            usage.insert("services.loadbalancers".to_owned(), one());
        }
        _ => {}
    }
}

fn claim_usage(claim: &PersistentVolumeClaim, usage: &mut Usage) {
    let Some(spec) = &claim.spec else { return };
    let class = text(&spec.storage_class_name);
    let size = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    let size = size.and_then(parse);
    if let Some(size) = size {
        usage.insert("requests.storage".to_owned(), size);
    }
    if !class.is_empty() {
        usage.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), one());
        if let Some(size) = size {
            usage.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), size);
        }
    }
}

/// The resources that containers of a new pod must name because the quota limits them, as upstream lists them:
/// `limits.cpu for: a,b; requests.memory for: b`. Empty when nothing is missing.
pub fn unspecified(object: &dyn Object, hard: &BTreeMap<String, Quantity>) -> String {
    let Some(spec) = object.downcast_ref::<Pod>().and_then(|pod| pod.spec.as_ref()) else {
        return String::new();
    };
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in hard.keys() {
        let (limits, name) = match resource.as_str() {
            "cpu" | "memory" => (false, resource.as_str()),
            "requests.cpu" => (false, "cpu"),
            "requests.memory" => (false, "memory"),
            "limits.cpu" => (true, "cpu"),
            "limits.memory" => (true, "memory"),
            _ => continue,
        };
        let whole = spec.resources.as_ref();
        let whole = whole.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
        if whole.is_some_and(|amounts| amounts.contains_key(name)) {
            continue;
        }
        for container in spec.containers.iter().chain(items(&spec.init_containers)) {
            let resources = container.resources.as_ref();
            let amounts =
                resources.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
            if !amounts.is_some_and(|amounts| amounts.contains_key(name)) {
                missing.entry(resource).or_default().push(&container.name);
            }
        }
    }
    let parts: Vec<String> =
        missing.iter().map(|(resource, names)| format!("{resource} for: {}", names.join(","))).collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn pods_take_the_sum_or_the_peak() {
        let pod = Pod::from_json(
            br#"{"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{"overhead":{"cpu":"10m"},
            "initContainers":[{"name":"i","resources":{"requests":{"cpu":"3","memory":"1Gi"}}},
            {"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"100m"}}}],
            "containers":[{"name":"a","resources":{"requests":{"cpu":"1","example.com/gpu":"2"},"limits":{"cpu":"2"}}},
            {"name":"b","resources":{"requests":{"cpu":"1"}}}]}}"#,
        )
        .unwrap();
        let table = crate::ResourceTable::shared();
        let usage = of(table.find("", "v1", "pods").unwrap(), &pod);
        let shown: Vec<String> = usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(
            shown,
            [
                "count/pods=1",
                "cpu=3010m",
                "limits.cpu=2010m",
                "memory=1Gi",
                "pods=1",
                "requests.cpu=3010m",
                "requests.example.com/gpu=2",
                "requests.memory=1Gi"
            ]
        );
        let hard = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), Quantity("1".into()))).collect();
        assert_eq!(
            unspecified(&pod, &hard(&["limits.cpu", "requests.cpu", "pods"])),
            "limits.cpu for: b,i,s"
        );
    }
}
