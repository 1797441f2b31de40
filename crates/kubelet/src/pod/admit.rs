//! Whether the node takes a pod that was bound to it: room for pods, CPU and memory, matching host ports.
//!
//! The scheduler has decided before; this is the node's last word, with upstream's reasons. Node selectors and
//! affinity are not checked again here (see GAPS.md).

use crate::container::resources;
use crate::kubelet::Kubelet;
use crate::pod::worker::{Stage, Worker};
use crate::spec;
use crate::status::generate::Verdict;
use api::k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

fn refuse(reason: &str, message: String) -> Verdict {
    Verdict { reason: reason.to_owned(), message }
}

fn host_ports(pod: &Pod) -> Vec<(String, i32)> {
    let containers = spec::all(pod);
    let ports = containers.iter().flat_map(|(_, c)| c.ports.iter().flatten());
    ports
        .filter_map(|p| Some((p.protocol.clone().unwrap_or_default(), p.host_port.filter(|p| *p > 0)?)))
        .collect()
}

fn short(resource: &str, requested: i64, used: i64, capacity: i64) -> Verdict {
    let message = format!(
        "Pod was rejected: Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    );
    refuse(&format!("OutOf{resource}"), message)
}

/// Takes the pod or says why not. Pods that already run here were taken before.
pub(crate) fn admit(kubelet: &Arc<Kubelet>, worker: &Worker, pod: &Pod) -> Result<(), Verdict> {
    let started = pod.status.as_ref().is_some_and(|s| s.start_time.is_some());
    if started {
        return Ok(());
    }
    let others: Vec<Arc<Pod>> = kubelet
        .workers
        .list()
        .into_iter()
        .filter(|w| w.uid != worker.uid && w.stage() != Stage::Terminated && *w.admitted.lock())
        .map(|w| w.pod())
        .collect();
    let room = usize::try_from(kubelet.config.max_pods).unwrap_or(usize::MAX);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    if others.len() >= room {
        return Err(short("pods", 1, count(others.len()), count(room)));
    }
    let own = resources::of_pod(pod);
    let used = others
        .iter()
        .map(|p| resources::of_pod(p))
        .fold((0, 0), |(cpu, memory), totals| (cpu + totals.cpu_request, memory + totals.memory_request));
    let values = kubelet.field_values(pod);
    if own.cpu_request > 0 && used.0 + own.cpu_request > values.milli_cpu {
        return Err(short("cpu", own.cpu_request, used.0, values.milli_cpu));
    }
    if own.memory_request > 0 && used.1 + own.memory_request > values.memory {
        return Err(short("memory", own.memory_request, used.1, values.memory));
    }
    let taken: Vec<_> = others.iter().flat_map(|p| host_ports(p)).collect();
    if host_ports(pod).iter().any(|port| taken.contains(port)) {
        let message = "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(refuse("NodePorts", message.to_owned()));
    }
    Ok(())
}
