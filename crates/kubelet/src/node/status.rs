//! The status of the node: sizes, addresses, conditions, images. Computing it is pure.

use super::Pressure;
use crate::kubelet::Kubelet;
use api::k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
    NodeSystemInfo,
};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// Version that the node reports.
pub(crate) const KUBELET_VERSION: &str = "v1.36.0";
/// Images named in the status.
const MAX_IMAGES: usize = 50;

fn condition(kind: &str, status: bool, reason: &str, message: &str) -> NodeCondition {
    NodeCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..NodeCondition::default()
    }
}

/// The node's conditions. Transition times are those of `old` where the status is the same.
pub(crate) fn conditions(
    problems: &[String],
    pressure: Pressure,
    old: &[NodeCondition],
    now: &Time,
) -> Vec<NodeCondition> {
    let memory = match pressure.memory {
        false => condition(
            "MemoryPressure",
            false,
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        true => condition(
            "MemoryPressure",
            true,
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ),
    };
    let disk = match pressure.disk {
        false => condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        true => condition("DiskPressure", true, "KubeletHasDiskPressure", "kubelet has disk pressure"),
    };
    let pid = match pressure.pid {
        false => {
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available")
        }
        true => condition(
            "PIDPressure",
            true,
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
        ),
    };
    let ready = match problems {
        [] => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        [one] => condition("Ready", false, "KubeletNotReady", one),
        many => condition("Ready", false, "KubeletNotReady", &format!("[{}]", many.join(", "))),
    };
    let mut all = vec![memory, disk, pid, ready];
    for condition in &mut all {
        let before = old.iter().find(|o| o.type_ == condition.type_ && o.status == condition.status);
        condition.last_transition_time =
            before.and_then(|o| o.last_transition_time.clone()).or_else(|| Some(now.clone()));
        condition.last_heartbeat_time = Some(now.clone());
    }
    all
}

fn resources(kubelet: &Kubelet, allocatable: bool) -> BTreeMap<String, Quantity> {
    let (machine, config) = (&kubelet.machine, &kubelet.config);
    let storage = machine.storage_bytes(&config.root_dir);
    let mut cpu = machine.milli_cpu();
    let mut memory = machine.memory_bytes;
    let mut disk = storage;
    if allocatable {
        cpu -= config.reserved_milli_cpu;
        let kept = i64::try_from(config.eviction.memory_available).unwrap_or(0);
        memory -= config.reserved_memory + kept;
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of a disk")]
        {
            disk -= (storage as f64 * config.eviction.nodefs_available) as i64;
        }
    }
    let cpu = if cpu % 1000 == 0 { (cpu / 1000).to_string() } else { format!("{cpu}m") };
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu)),
        ("memory".to_owned(), Quantity(format!("{}Ki", memory.max(0) / 1024))),
        (
            "ephemeral-storage".to_owned(),
            Quantity(if allocatable { disk.to_string() } else { format!("{}Ki", disk / 1024) }),
        ),
        ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ("hugepages-1Gi".to_owned(), Quantity("0".to_owned())),
        ("hugepages-2Mi".to_owned(), Quantity("0".to_owned())),
    ])
}

fn system_info(kubelet: &Kubelet) -> NodeSystemInfo {
    let machine = &kubelet.machine;
    NodeSystemInfo {
        architecture: machine.architecture.to_owned(),
        boot_id: machine.boot_id.clone(),
        container_runtime_version: format!("{}://{}", kubelet.runtime.name, kubelet.runtime.version),
        kernel_version: machine.kernel.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        machine_id: machine.machine_id.clone(),
        operating_system: "linux".to_owned(),
        os_image: machine.os_image.clone(),
        system_uuid: machine.machine_id.clone(),
        ..NodeSystemInfo::default()
    }
}

/// Images by size, largest first.
async fn images(kubelet: &Kubelet) -> Vec<ContainerImage> {
    let mut images = kubelet.runtime.images().await.unwrap_or_default();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let describe = |image: cri::v1::Image| {
        let mut names = image.repo_digests;
        names.extend(image.repo_tags);
        names.truncate(5);
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
    };
    images.into_iter().take(MAX_IMAGES).map(describe).collect()
}

/// The whole status now. `old` is the last one.
pub(crate) async fn compute(kubelet: &Kubelet, old: &[NodeCondition], now: &Time, port: u16) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress { address, type_: kind.to_owned() };
    let mut addresses: Vec<_> =
        kubelet.config.host_ips().into_iter().map(|ip| address("InternalIP", ip)).collect();
    addresses.push(address("Hostname", kubelet.config.node_name.clone()));
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(resources(kubelet, false)),
        allocatable: Some(resources(kubelet, true)),
        conditions: Some(conditions(&kubelet.node.problems(), kubelet.node.pressure(), old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }),
        }),
        images: Some(images(kubelet).await),
        node_info: Some(system_info(kubelet)),
        ..NodeStatus::default()
    }
}

/// Whether two statuses differ in more than their heartbeats.
pub(crate) fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let strip = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    strip(a) != strip(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::jiff::Timestamp;

    #[test]
    fn transition_times_move_only_with_the_status() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let first = conditions(&["no network".to_owned()], Pressure::default(), &[], &at(1));
        assert_eq!(first[3].status, "False");
        assert_eq!(first[3].message.as_deref(), Some("no network"));
        let second = conditions(&[], Pressure::default(), &first, &at(2));
        assert_eq!(second[3].reason.as_deref(), Some("KubeletReady"));
        assert_eq!(second[3].last_transition_time, Some(at(2)));
        assert_eq!(second[0].last_transition_time, Some(at(1)));
        let status = |conditions| NodeStatus { conditions: Some(conditions), ..NodeStatus::default() };
        let third = conditions(&[], Pressure::default(), &second, &at(3));
        assert!(!differs(&status(second), &status(third.clone())));
        assert!(differs(&status(first), &status(third)));
    }
}
