//! The whole status of a pod. Pure; `status/manager.rs` writes it.

use crate::spec;
use crate::status::conditions;
use crate::status::containers::{Inputs, statuses};
use crate::status::phase::phase;
use api::k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Reason of pods that the kubelet ended for want of resources.
pub(crate) const EVICTED: &str = "Evicted";

/// Why a pod ended before its containers did, such as `Evicted` or `DeadlineExceeded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Reason in the pod's status.
    pub(crate) reason: String,
    /// Message in the pod's status.
    pub(crate) message: String,
}

/// Builds the status. `verdict` makes the pod `Failed` whatever its containers say.
pub(crate) fn generate(
    inputs: &Inputs<'_>,
    host_ips: &[String],
    verdict: Option<&Verdict>,
    now: &Time,
) -> PodStatus {
    let pod = inputs.pod;
    let old = pod.status.clone().unwrap_or_default();
    let all = statuses(inputs);
    let mut phase = phase(pod, &all.init, &all.regular, inputs.terminal);
    let mut reason = None;
    let mut message = None;
    if let Some(verdict) = verdict {
        phase = "Failed";
        reason = Some(verdict.reason.clone());
        message = Some(verdict.message.clone());
    } else if spec::is_finished(pod) {
        // An end is final, whatever is found later.
        phase = if old.phase.as_deref() == Some("Succeeded") { "Succeeded" } else { "Failed" };
        reason = old.reason.clone();
        message = old.message.clone();
    } else if inputs.terminal && !matches!(phase, "Succeeded" | "Failed") {
        phase = "Failed";
    }
    let host_network = spec::host_network(pod);
    let ips: &[String] = if host_network { host_ips } else { inputs.runtime.ips() };
    let ips: Vec<PodIP> = match ips.is_empty() {
        false => ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect(),
        true if inputs.terminal => old.pod_ips.clone().unwrap_or_default(),
        true => Vec::new(),
    };
    let sandbox_up = inputs.runtime.ready_sandbox().is_some_and(|s| s.host_network || !s.ips.is_empty());
    let old_conditions = old.conditions.as_deref().unwrap_or_default();
    let mut list =
        conditions::build(pod, old_conditions, phase, sandbox_up, &all.init, &all.regular, now.clone());
    if let Some(verdict) = verdict.filter(|verdict| verdict.reason == EVICTED) {
        conditions::disrupted(&mut list, &verdict.message, pod.metadata.generation, now);
    }
    PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(list),
        init_container_statuses: (!all.init.is_empty()).then_some(all.init),
        container_statuses: Some(all.regular),
        ephemeral_container_statuses: (!all.ephemeral.is_empty()).then_some(all.ephemeral),
        host_ip: host_ips.first().cloned(),
        host_ips: Some(host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().map(|ip| ip.ip.clone()),
        pod_ips: (!ips.is_empty()).then_some(ips),
        qos_class: Some(spec::qos(pod).to_owned()),
        start_time: old.start_time.clone().or_else(|| Some(now.clone())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}
