//! Makes a pod's sandbox.

use crate::container::{hosts, resolv, resources, sandbox, security};
use crate::kubelet::Kubelet;
use crate::model::RuntimePod;
use crate::pod::start::StartError;
use crate::pod::worker::Worker;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use client::EventType;
use cri::v1;
use std::sync::Arc;

/// Defaults of security on this node.
pub(crate) fn security_defaults(kubelet: &Kubelet) -> security::Defaults<'_> {
    security::Defaults { seccomp: kubelet.config.seccomp_default, seccomp_dir: &kubelet.machine.seccomp_dir }
}

/// Configuration of the pod's sandbox.
pub(crate) fn config(kubelet: &Kubelet, pod: &Pod, attempt: u32) -> v1::PodSandboxConfig {
    let config = &kubelet.config;
    let (hostname, _) = hosts::hostname_and_domain(pod, &config.cluster_domain, &kubelet.machine.hostname);
    let dns = resolv::for_pod(pod, &kubelet.machine.dns, &config.cluster_dns, &config.cluster_domain);
    let logs = config.log_dir(spec::namespace(pod), spec::name(pod), spec::uid(pod));
    let cgroup_parent =
        if config.cgroups_per_qos { resources::cgroup(&config.cgroup_root, pod) } else { String::new() };
    sandbox::config(&sandbox::Inputs {
        pod,
        attempt,
        hostname,
        dns,
        log_directory: logs.display().to_string(),
        cgroup_parent,
        security: security_defaults(kubelet),
    })
}

/// Makes the sandbox; returns its id, its configuration and the pod as the runtime then knows it.
pub(crate) async fn create(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    attempt: u32,
) -> Result<(String, v1::PodSandboxConfig, Arc<RuntimePod>), StartError> {
    let failed = |why: String| {
        let message = format!("Failed to create pod sandbox: {why}");
        kubelet.pod_event(pod, EventType::Warning, "FailedCreatePodSandBox", message);
        StartError::new("CreatePodSandboxError", format!("Failed to create sandbox for pod: {why}"))
    };
    let config = config(kubelet, pod, attempt);
    let logs = config.log_directory.clone();
    tokio::fs::create_dir_all(&logs)
        .await
        .map_err(|error| failed(format!("failed to make the log directory {logs}: {error}")))?;
    let handler = kubelet.node.runtime_handler(kubelet, pod).await.map_err(failed)?;
    let making = worker.making();
    let id =
        kubelet.runtime.run_sandbox(config.clone(), &handler).await.map_err(|e| failed(e.to_string()))?;
    drop(making);
    let runtime = kubelet.runtime.pod(&worker.uid).await.map_err(|e| failed(e.to_string()))?;
    Ok((id, config, worker.set_runtime(runtime)))
}
