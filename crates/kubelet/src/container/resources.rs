//! Requests and limits as cgroup settings, and the cgroup of each pod. Pure.
//!
//! Rules: shares = 1024 per CPU (at least 2), quota = limit of each 100 ms period (at least 1 ms), OOM scores by
//! QoS class ("Node out of memory behaviour").

use crate::{quantity, spec};
use api::k8s_openapi::api::core::v1::{Container, Pod};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use cri::v1::LinuxContainerResources;
use std::collections::BTreeMap;

const PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

type List = Option<BTreeMap<String, Quantity>>;

fn milli(list: &List, name: &str) -> Option<i64> {
    list.as_ref()?.get(name).map(|q| quantity::milli(&q.0))
}

fn bytes(list: &List, name: &str) -> Option<i64> {
    list.as_ref()?.get(name).map(|q| quantity::units(&q.0))
}

/// CPU shares of a request in thousandths.
pub(crate) fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CPU quota, microseconds per period, of a limit in thousandths; 0 is none.
pub(crate) fn quota(milli: i64) -> i64 {
    if milli == 0 { 0 } else { (milli.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA) }
}

/// `oom_score_adj` of a container.
pub(crate) fn oom_score(pod: &Pod, container: &Container, capacity: i64) -> i64 {
    const NODE_CRITICAL: i32 = 2_000_001_000;
    if spec::spec(pod).priority.unwrap_or(0) >= NODE_CRITICAL {
        return -997;
    }
    match spec::qos(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let resources = container.resources.clone().unwrap_or_default();
            let request = bytes(&resources.requests, "memory").unwrap_or(0);
            let score = 1000 - i128::from(request) * 1000 / i128::from(capacity.max(1));
            // Below 3 only guaranteed pods may be; 999 keeps best effort first in line.
            i64::try_from(score).unwrap_or(0).clamp(3, 999)
        }
    }
}

/// Settings of a container's cgroup. `capacity` is the node's memory in bytes.
pub(crate) fn of_container(pod: &Pod, container: &Container, capacity: i64) -> LinuxContainerResources {
    let resources = container.resources.clone().unwrap_or_default();
    let limit = milli(&resources.limits, "cpu").unwrap_or(0);
    let request = milli(&resources.requests, "cpu").unwrap_or(limit);
    LinuxContainerResources {
        cpu_shares: shares(request),
        cpu_period: PERIOD,
        cpu_quota: quota(limit),
        memory_limit_in_bytes: bytes(&resources.limits, "memory").unwrap_or(0),
        oom_score_adj: oom_score(pod, container, capacity),
        ..LinuxContainerResources::default()
    }
}

/// Requests and limits of a whole pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodTotals {
    /// CPU requested, thousandths.
    pub(crate) cpu_request: i64,
    /// CPU limit, thousandths; `None` when a container has none.
    pub(crate) cpu_limit: Option<i64>,
    /// Memory requested, bytes.
    pub(crate) memory_request: i64,
    /// Memory limit, bytes; `None` when a container has none.
    pub(crate) memory_limit: Option<i64>,
}

/// Sums a resource over containers: sidecars add to everything after them, init containers count alone, the
/// larger wins (KEP-753). `None` where a container that counts has no value.
fn total(pod: &Pod, value: impl Fn(&Container) -> Option<i64>) -> Option<i64> {
    let mut sidecars = Some(0_i64);
    let mut init_peak = Some(0_i64);
    let add = |a: Option<i64>, b: Option<i64>| Some(a?.saturating_add(b?));
    for container in spec::init(pod) {
        let this = add(sidecars, value(container));
        if spec::is_sidecar(container) {
            sidecars = this;
        }
        init_peak = match (init_peak, this) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
    }
    let regular = spec::regular(pod).iter().fold(sidecars, |sum, c| add(sum, value(c)));
    Some(regular?.max(init_peak?))
}

/// Requests and limits of the pod, overhead and pod-level resources included.
pub(crate) fn of_pod(pod: &Pod) -> PodTotals {
    let read = |container: &Container, name: &str, limits: bool| {
        let resources = container.resources.clone().unwrap_or_default();
        let list = if limits { resources.limits } else { resources.requests };
        if name == "cpu" { milli(&list, name) } else { bytes(&list, name) }
    };
    let s = spec::spec(pod);
    let own = s.resources.clone().unwrap_or_default();
    let extra_cpu = milli(&s.overhead, "cpu").unwrap_or(0);
    let extra_memory = bytes(&s.overhead, "memory").unwrap_or(0);
    let request = |name| total(pod, |c| Some(read(c, name, false).unwrap_or(0))).unwrap_or(0);
    PodTotals {
        cpu_request: milli(&own.requests, "cpu").unwrap_or_else(|| request("cpu")) + extra_cpu,
        cpu_limit: milli(&own.limits, "cpu")
            .or_else(|| total(pod, |c| read(c, "cpu", true)))
            .map(|v| v + extra_cpu),
        memory_request: bytes(&own.requests, "memory").unwrap_or_else(|| request("memory")) + extra_memory,
        memory_limit: bytes(&own.limits, "memory")
            .or_else(|| total(pod, |c| read(c, "memory", true)))
            .map(|v| v + extra_memory),
    }
}

/// Path of the pod's cgroup below the cgroup root, with a leading slash.
pub(crate) fn cgroup(root: &str, pod: &Pod) -> String {
    let root = root.trim_end_matches('/');
    let uid = spec::uid(pod);
    match spec::qos(pod) {
        "Guaranteed" => format!("{root}/kubepods/pod{uid}"),
        class => format!("{root}/kubepods/{}/pod{uid}", class.to_lowercase()),
    }
}

/// Settings of the whole pod for the runtime and its cgroup.
pub(crate) fn pod_resources(pod: &Pod) -> LinuxContainerResources {
    let totals = of_pod(pod);
    LinuxContainerResources {
        cpu_shares: shares(totals.cpu_request),
        cpu_period: PERIOD,
        cpu_quota: totals.cpu_limit.filter(|l| *l > 0).map_or(0, quota),
        memory_limit_in_bytes: totals.memory_limit.unwrap_or(0),
        ..LinuxContainerResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

    fn container(cpu: &str, limit: Option<&str>, sidecar: bool) -> Container {
        let list = |value: &str| Some(BTreeMap::from([("cpu".to_owned(), Quantity(value.to_owned()))]));
        Container {
            resources: Some(ResourceRequirements {
                requests: list(cpu),
                limits: limit.and_then(list),
                ..ResourceRequirements::default()
            }),
            restart_policy: sidecar.then(|| "Always".to_owned()),
            ..Container::default()
        }
    }

    #[test]
    fn sidecars_add_and_init_containers_peak() {
        let mut pod = Pod::default();
        pod.metadata.uid = Some("u".to_owned());
        pod.spec = Some(PodSpec {
            init_containers: Some(vec![container("100m", None, true), container("2", None, false)]),
            containers: vec![container("500m", Some("1"), false), container("500m", Some("1"), false)],
            ..PodSpec::default()
        });
        let totals = of_pod(&pod);
        assert_eq!((totals.cpu_request, totals.cpu_limit), (2100, None));
        assert_eq!(cgroup("", &pod), "/kubepods/burstable/podu");
        assert_eq!(of_container(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30).cpu_quota, 100_000);
    }

    #[test]
    fn small_values_keep_the_kernel_s_minimum() {
        assert_eq!((shares(0), shares(1), shares(1000)), (2, 2, 1024));
        assert_eq!((quota(0), quota(1), quota(1500)), (0, 1000, 150_000));
    }
}
