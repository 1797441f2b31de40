//! Control groups above the containers: `kubepods`, one per QoS class, one per pod.
//!
//! The runtime makes the containers' own groups below the pod's.

use crate::container::resources;
use crate::kubelet::Kubelet;
use crate::pod::worker::Stage;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use linux::cgroup::{Cgroups, Resources};
use std::sync::Arc;

async fn blocking(work: impl FnOnce() -> linux::Result<()> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn weight(milli: i64) -> u64 {
    resources::shares(milli).unsigned_abs()
}

fn of_pod(pod: &Pod) -> Resources {
    let settings = resources::pod_resources(pod);
    Resources {
        cpu_shares: settings.cpu_shares.unsigned_abs(),
        cpu_quota: settings.cpu_quota,
        cpu_period: if settings.cpu_quota > 0 { settings.cpu_period.unsigned_abs() } else { 0 },
        memory_limit: settings.memory_limit_in_bytes,
        ..Resources::default()
    }
}

/// CPU that burstable pods of the node ask for, thousandths.
fn burstable_cpu(kubelet: &Kubelet) -> i64 {
    let pods = kubelet.workers.list().into_iter().filter(|w| w.stage() != Stage::Terminated).map(|w| w.pod());
    pods.filter(|p| spec::qos(p) == "Burstable").map(|p| resources::of_pod(&p).cpu_request).sum()
}

/// Makes the groups of the node. Called once.
pub(crate) async fn prepare(kubelet: &Arc<Kubelet>) -> Result<(), String> {
    if !kubelet.config.cgroups_per_qos {
        return Ok(());
    }
    let root = kubelet.config.cgroup_root.trim_end_matches('/').to_owned();
    let (cpu, memory) = (kubelet.machine.milli_cpu(), kubelet.machine.memory_bytes);
    let (cpu, memory) = (cpu - kubelet.config.reserved_milli_cpu, memory - kubelet.config.reserved_memory);
    blocking(move || {
        let cgroups = Cgroups::detect()?;
        let top = cgroups.group(&format!("{root}/kubepods"))?;
        top.create()?;
        top.set(&Resources { cpu_shares: weight(cpu), memory_limit: memory, ..Resources::default() })?;
        for class in ["burstable", "besteffort"] {
            let group = top.child(class)?;
            group.create()?;
            group.set(&Resources { cpu_shares: weight(0), ..Resources::default() })?;
        }
        Ok(())
    })
    .await
}

/// Makes the pod's group and sets its limits; idempotent.
pub(crate) async fn ensure(kubelet: &Arc<Kubelet>, pod: &Pod) -> Result<(), String> {
    if !kubelet.config.cgroups_per_qos {
        return Ok(());
    }
    let path = resources::cgroup(&kubelet.config.cgroup_root, pod);
    let burstable = format!("{}/kubepods/burstable", kubelet.config.cgroup_root.trim_end_matches('/'));
    let cpu = (spec::qos(pod) == "Burstable").then(|| burstable_cpu(kubelet));
    let settings = of_pod(pod);
    blocking(move || {
        let cgroups = Cgroups::detect()?;
        let group = cgroups.group(&path)?;
        if group.directories().iter().all(|dir| dir.exists()) {
            return Ok(());
        }
        group.create()?;
        group.set(&settings)?;
        if let Some(cpu) = cpu {
            let class = Resources { cpu_shares: weight(cpu), ..Resources::default() };
            cgroups.group(&burstable)?.set(&class)?;
        }
        Ok(())
    })
    .await
}

/// Removes the pod's group; nothing may run in it any more.
pub(crate) async fn remove(kubelet: &Arc<Kubelet>, pod: &Pod) -> Result<(), String> {
    // What only the runtime remembers has no specification: its class is not known.
    if !kubelet.config.cgroups_per_qos {
        return Ok(());
    }
    let root = kubelet.config.cgroup_root.trim_end_matches('/').to_owned();
    let uid = spec::uid(pod).to_owned();
    blocking(move || {
        let cgroups = Cgroups::detect()?;
        for class in ["", "/burstable", "/besteffort"] {
            let group = cgroups.group(&format!("{root}/kubepods{class}/pod{uid}"))?;
            if group.directories().iter().any(|dir| dir.exists()) {
                group.remove()?;
            }
        }
        Ok(())
    })
    .await
}
