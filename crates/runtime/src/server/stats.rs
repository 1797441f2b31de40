//! What containers and sandboxes use, read from their cgroups when asked.

use super::model::{Container, Sandbox, selected};
use super::sandboxes::cgroup_parent;
use super::{Error, Inner};
use cri::v1;
use linux::cgroup::{Pressure, PressureLine, Stats};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most files counted for one writable layer: a container with more of them has trouble of another kind.
const MAX_FILES: u64 = 2_000_000;

fn value(value: Option<u64>) -> Option<v1::UInt64Value> {
    value.map(|value| v1::UInt64Value { value })
}

fn psi(of: Option<Pressure>) -> Option<v1::PsiStats> {
    let line = |line: PressureLine| v1::PsiData {
        total: line.total.saturating_mul(1000),
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
    };
    of.map(|of| v1::PsiStats { full: Some(line(of.full)), some: Some(line(of.some)) })
}

fn cpu(stats: &Stats, timestamp: i64) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(stats.cpu_nanoseconds),
        // A rate needs two samples: whoever asks twice can tell.
        usage_nano_cores: None,
        psi: psi(stats.pressure[0]),
    }
}

fn memory(stats: &Stats, timestamp: i64) -> v1::MemoryUsage {
    let available =
        stats.memory_limit.zip(stats.memory_working_set).map(|(limit, used)| limit.saturating_sub(used));
    v1::MemoryUsage {
        timestamp,
        working_set_bytes: value(stats.memory_working_set),
        available_bytes: value(available),
        usage_bytes: value(stats.memory_usage),
        rss_bytes: value(stats.memory_rss),
        page_faults: value(stats.page_faults),
        major_page_faults: value(stats.major_page_faults),
        psi: psi(stats.pressure[1]),
    }
}

/// One container's usage. Reads its writable layer; blocks.
pub(crate) fn container(inner: &Inner, of: &Container) -> Result<v1::ContainerStats, Error> {
    let timestamp = inner.now();
    let stats = inner.cgroups.group(&of.spec.cgroup)?.stats()?;
    let config = of.config();
    let upper = of.spec.rootfs.own.join("upper");
    let (mut bytes, mut files) = (0, 0);
    count(&upper, &mut bytes, &mut files);
    Ok(v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: of.record.id.clone(),
            metadata: config.metadata,
            labels: config.labels,
            annotations: config.annotations,
        }),
        cpu: Some(cpu(&stats, timestamp)),
        memory: Some(memory(&stats, timestamp)),
        writable_layer: Some(v1::FilesystemUsage {
            timestamp,
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: inner.config.root.display().to_string() }),
            used_bytes: value(Some(bytes)),
            inodes_used: value(Some(files)),
        }),
        swap: Some(v1::SwapUsage {
            timestamp,
            swap_available_bytes: None,
            swap_usage_bytes: value(stats.swap_usage),
        }),
        io: stats.pressure[2].map(|io| v1::IoUsage { timestamp, psi: psi(Some(io)) }),
    })
}

// What files take on disk. Directories that vanish meanwhile do not count.
fn count(dir: &Path, bytes: &mut u64, files: &mut u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if *files >= MAX_FILES {
            return;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        *files += 1;
        *bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            count(&entry.path(), bytes, files);
        }
    }
}

/// One sandbox's usage: that of the pod's cgroup, with its containers. Blocks.
pub(crate) fn sandbox(inner: &Inner, of: &Sandbox) -> Result<v1::PodSandboxStats, Error> {
    let timestamp = inner.now();
    let config = of.config();
    let stats = inner.cgroups.group(&cgroup_parent(&config))?.stats()?;
    let running: Vec<Container> =
        inner.model.lock().containers_of(&of.record.id).into_iter().filter(Container::running).collect();
    let containers = running.iter().map(|each| container(inner, each)).collect::<Result<_, _>>()?;
    Ok(v1::PodSandboxStats {
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: Some(cpu(&stats, timestamp)),
            memory: Some(memory(&stats, timestamp)),
            network: network(of.pid, timestamp),
            process: Some(v1::ProcessUsage { timestamp, process_count: value(stats.pids) }),
            containers,
            io: stats.pressure[2].map(|io| v1::IoUsage { timestamp, psi: psi(Some(io)) }),
        }),
        attributes: Some(v1::PodSandboxAttributes {
            id: of.record.id.clone(),
            metadata: config.metadata,
            labels: config.labels,
            annotations: config.annotations,
        }),
    })
}

// The counters of the shim's network namespace, which is the pod's.
fn network(pid: i32, timestamp: i64) -> Option<v1::NetworkUsage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let mut interfaces: Vec<_> =
        text.lines().filter_map(interface).filter(|found| found.name != "lo").collect();
    let default = interfaces.iter().position(|found| found.name == "eth0").map(|at| interfaces.remove(at));
    Some(v1::NetworkUsage { timestamp, default_interface: default, interfaces })
}

// "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs …"
fn interface(line: &str) -> Option<v1::NetworkInterfaceUsage> {
    let (name, counters) = line.split_once(':')?;
    let counters: Vec<u64> = counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let at = |index: usize| value(counters.get(index).copied());
    Some(v1::NetworkInterfaceUsage {
        name: name.trim().to_owned(),
        rx_bytes: at(0),
        rx_errors: at(2),
        tx_bytes: at(8),
        tx_errors: at(10),
    })
}

/// Running containers that a filter selects.
pub(crate) fn containers_for(inner: &Inner, filter: &v1::ContainerStatsFilter) -> Vec<Container> {
    let model = inner.model.lock();
    let all = model.containers.values().filter(|each| each.running());
    all.filter(|each| {
        each.record.id.starts_with(&filter.id)
            && each.record.sandbox_id.starts_with(&filter.pod_sandbox_id)
            && selected(&each.config().labels, &filter.label_selector)
    })
    .cloned()
    .collect()
}

/// Ready sandboxes that a filter selects.
pub(crate) fn sandboxes_for(inner: &Inner, filter: &v1::PodSandboxStatsFilter) -> Vec<Sandbox> {
    let model = inner.model.lock();
    let all = model.sandboxes.values().filter(|each| each.state() == v1::PodSandboxState::SandboxReady);
    all.filter(|each| {
        each.record.id.starts_with(&filter.id) && selected(&each.config().labels, &filter.label_selector)
    })
    .cloned()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_counters_are_read_from_their_columns() {
        let found = interface("  eth0: 10 1 2 0 0 0 0 0 30 3 4 0 0 0 0 0").unwrap();
        let got =
            [found.rx_bytes, found.rx_errors, found.tx_bytes, found.tx_errors].map(|v| v.unwrap().value);
        assert_eq!((found.name.as_str(), got), ("eth0", [10, 2, 30, 4]));
        assert_eq!(interface("Inter-|   Receive"), None);
    }
}
