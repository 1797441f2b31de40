//! `/stats/summary`: usage of the node and its pods (`stats/v1alpha1`), from the runtime and `/proc`.
//!
//! Network of the node and volumes of pods are not told yet (see GAPS.md).

use super::json;
use crate::kubelet::Kubelet;
use crate::model::labels;
use crate::node::machine::meminfo;
use api::k8s_openapi::jiff::Timestamp;
use component::serve::Response;
use cri::v1;
use machinery::Status;
use serde_json::{Value, json};
use std::sync::Arc;

fn time(nanos: i64) -> String {
    let at = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn number(value: Option<&v1::UInt64Value>) -> Option<u64> {
    value.map(|v| v.value)
}

fn cpu(usage: Option<&v1::CpuUsage>) -> Value {
    usage.map_or(Value::Null, |u| {
        json!({"time": time(u.timestamp), "usageNanoCores": number(u.usage_nano_cores.as_ref()),
            "usageCoreNanoSeconds": number(u.usage_core_nano_seconds.as_ref())})
    })
}

fn memory(usage: Option<&v1::MemoryUsage>) -> Value {
    usage.map_or(Value::Null, |u| {
        json!({"time": time(u.timestamp), "availableBytes": number(u.available_bytes.as_ref()),
            "usageBytes": number(u.usage_bytes.as_ref()),
            "workingSetBytes": number(u.working_set_bytes.as_ref()), "rssBytes": number(u.rss_bytes.as_ref()),
            "pageFaults": number(u.page_faults.as_ref()), "majorPageFaults": number(u.major_page_faults.as_ref())})
    })
}

fn container(stats: &v1::ContainerStats) -> Value {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let name = attributes.labels.get(labels::CONTAINER_NAME).cloned();
    let name = name.unwrap_or_else(|| attributes.metadata.unwrap_or_default().name);
    let rootfs = stats.writable_layer.as_ref().map_or(Value::Null, |f| {
        json!({"time": time(f.timestamp), "usedBytes": number(f.used_bytes.as_ref()),
            "inodesUsed": number(f.inodes_used.as_ref())})
    });
    json!({"name": name, "cpu": cpu(stats.cpu.as_ref()), "memory": memory(stats.memory.as_ref()), "rootfs": rootfs})
}

fn network(usage: Option<&v1::NetworkUsage>) -> Value {
    let interface = |i: &v1::NetworkInterfaceUsage| {
        json!({"name": i.name, "rxBytes": number(i.rx_bytes.as_ref()), "rxErrors": number(i.rx_errors.as_ref()),
            "txBytes": number(i.tx_bytes.as_ref()), "txErrors": number(i.tx_errors.as_ref())})
    };
    let Some(usage) = usage else { return Value::Null };
    let mut value = usage.default_interface.as_ref().map_or_else(|| json!({}), interface);
    value["time"] = time(usage.timestamp).into();
    value["interfaces"] = usage.interfaces.iter().map(interface).collect();
    value
}

fn pod(stats: &v1::PodSandboxStats) -> Value {
    let metadata = stats.attributes.clone().unwrap_or_default().metadata.unwrap_or_default();
    let linux = stats.linux.clone().unwrap_or_default();
    json!({
        "podRef": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "cpu": cpu(linux.cpu.as_ref()), "memory": memory(linux.memory.as_ref()),
        "network": network(linux.network.as_ref()),
        "containers": linux.containers.iter().map(container).collect::<Vec<_>>(),
        "process_stats": linux.process.map(|p| json!({"process_count": number(p.process_count.as_ref())})),
    })
}

/// Nanoseconds of CPU that all CPUs spent at work since boot. `/proc/stat` counts in hundredths of a second.
pub(super) fn node_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system; then idle and iowait, which are no work; then irq, softirq, steal.
    let busy: u64 = fields.iter().take(3).chain(fields.iter().skip(5).take(3)).sum();
    busy.saturating_mul(10_000_000)
}

/// Bytes of memory in use on the node without what can be dropped at once.
pub(super) fn node_working_set() -> i64 {
    meminfo("MemTotal").unwrap_or(0) - meminfo("MemAvailable").unwrap_or(0)
}

fn filesystem(dir: &std::path::Path, now: &str) -> Value {
    rustix::fs::statvfs(dir).map_or(Value::Null, |fs| {
        json!({"time": now, "availableBytes": fs.f_bavail * fs.f_frsize, "capacityBytes": fs.f_blocks * fs.f_frsize,
            "usedBytes": (fs.f_blocks - fs.f_bfree) * fs.f_frsize, "inodesFree": fs.f_ffree, "inodes": fs.f_files,
            "inodesUsed": fs.f_files - fs.f_ffree})
    })
}

/// Drops what is not known.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The whole summary.
pub(super) async fn summary(kubelet: &Arc<Kubelet>) -> Result<Response, Status> {
    let stats = kubelet.runtime.pod_stats().await.map_err(Status::internal)?;
    let now = client::time::now(&*kubelet.clock).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let total = meminfo("MemTotal").unwrap_or(0);
    let mut body = json!({
        "node": {
            "nodeName": kubelet.config.node_name,
            "cpu": {"time": now, "usageCoreNanoSeconds": node_cpu_nanos()},
            "memory": {"time": now, "availableBytes": meminfo("MemAvailable"),
                "usageBytes": total - meminfo("MemFree").unwrap_or(0), "workingSetBytes": node_working_set()},
            "fs": filesystem(&kubelet.config.root_dir, &now),
            "runtime": {"imageFs": filesystem(&kubelet.config.root_dir, &now)},
        },
        "pods": stats.iter().map(pod).collect::<Vec<_>>(),
    });
    prune(&mut body);
    Ok(json(body.to_string()))
}
