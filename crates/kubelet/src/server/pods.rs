//! `/pods`, `/runningpods` and `/configz`.

use super::json;
use crate::kubelet::Kubelet;
use crate::model::{RuntimePod, State};
use api::Object;
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use component::serve::Response;
use machinery::Status;
use serde_json::json;
use std::sync::Arc;

fn list(pods: impl Iterator<Item = Vec<u8>>) -> Response {
    let mut body = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    for (index, pod) in pods.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend(pod);
    }
    body.extend_from_slice(b"]}");
    json(body)
}

/// Pods bound to the node, with their newest status.
pub(super) fn all(kubelet: &Arc<Kubelet>) -> Response {
    let workers = kubelet.workers.list();
    list(workers.iter().filter(|w| !w.is_deleted()).map(|worker| {
        let mut pod = Pod::clone(&worker.pod());
        if let Some(status) = kubelet.status.get(&worker.uid) {
            pod.status = Some(status);
        }
        pod.to_json()
    }))
}

fn skeleton(pod: RuntimePod) -> Vec<u8> {
    let mut object = Pod::default();
    let running = pod.containers.iter().filter(|c| c.state == State::Running);
    let containers = running
        .map(|c| Container { name: c.name.clone(), image: Some(c.image.clone()), ..Container::default() })
        .collect();
    object.spec = Some(PodSpec { containers, ..PodSpec::default() });
    object.metadata.name = Some(pod.name);
    object.metadata.namespace = Some(pod.namespace);
    object.metadata.uid = Some(pod.uid);
    object.to_json()
}

/// Pods as the runtime knows them.
pub(super) async fn running(kubelet: &Arc<Kubelet>) -> Result<Response, Status> {
    let pods = kubelet.runtime.pods().await.map_err(Status::internal)?;
    Ok(list(pods.into_iter().filter(|p| !p.is_dead()).map(skeleton)))
}

/// The configuration in force.
pub(super) fn configz(kubelet: &Arc<Kubelet>) -> Response {
    let c = &kubelet.config;
    let seconds = |d: std::time::Duration| format!("{}s", d.as_secs());
    let body = json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "staticPodPath": c.static_pod_path.as_ref().map(|p| p.display().to_string()),
        "clusterDomain": c.cluster_domain,
        "clusterDNS": c.cluster_dns,
        "resolvConf": c.resolv_conf.display().to_string(),
        "maxPods": c.max_pods,
        "cgroupRoot": c.cgroup_root,
        "cgroupsPerQOS": c.cgroups_per_qos,
        "cgroupDriver": "cgroupfs",
        "seccompDefault": c.seccomp_default,
        "nodeStatusUpdateFrequency": seconds(c.node_status_update_frequency),
        "nodeStatusReportFrequency": seconds(c.node_status_report_frequency),
        "nodeLeaseDurationSeconds": c.node_lease_duration_seconds,
        "containerRuntimeEndpoint": c.runtime_endpoint,
        "imageGCHighThresholdPercent": c.image_gc_high_threshold_percent,
        "imageGCLowThresholdPercent": c.image_gc_low_threshold_percent,
        "containerLogMaxSize": c.container_log_max_size.to_string(),
        "containerLogMaxFiles": c.container_log_max_files,
        "podLogsDir": c.pod_logs_dir.display().to_string(),
    }});
    json(body.to_string())
}
