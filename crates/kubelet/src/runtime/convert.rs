//! CRI messages into the kubelet's model.

use crate::model::{RuntimeContainer, RuntimePod, Sandbox, State, annotations, labels};
use cri::v1;

fn name_pod(pod: &mut RuntimePod, metadata: Option<&v1::PodSandboxMetadata>) {
    if let Some(metadata) = metadata {
        pod.name.clone_from(&metadata.name);
        pod.namespace.clone_from(&metadata.namespace);
    }
}

/// Adds a sandbox to `pod`.
pub(super) fn sandbox(status: v1::PodSandboxStatus, pod: &mut RuntimePod) {
    name_pod(pod, status.metadata.as_ref());
    let ready = status.state == v1::PodSandboxState::SandboxReady as i32;
    let mode = status
        .linux
        .and_then(|l| l.namespaces)
        .and_then(|n| n.options)
        .map_or(v1::NamespaceMode::Pod as i32, |o| o.network);
    let network = status.network.unwrap_or_default();
    let mut ips: Vec<String> = vec![network.ip];
    ips.extend(network.additional_ips.into_iter().map(|ip| ip.ip));
    ips.retain(|ip| !ip.is_empty());
    let host_network = mode == v1::NamespaceMode::Node as i32;
    pod.sandboxes.push(Sandbox {
        id: status.id,
        attempt: status.metadata.map_or(0, |m| m.attempt),
        ready,
        created_at: status.created_at,
        ips: if host_network { Vec::new() } else { ips },
        host_network,
    });
}

/// Adds a sandbox from a list, whose addresses are not known.
pub(super) fn listed_sandbox(sandbox: v1::PodSandbox, pod: &mut RuntimePod) {
    name_pod(pod, sandbox.metadata.as_ref());
    pod.sandboxes.push(Sandbox {
        id: sandbox.id,
        attempt: sandbox.metadata.map_or(0, |m| m.attempt),
        ready: sandbox.state == v1::PodSandboxState::SandboxReady as i32,
        created_at: sandbox.created_at,
        ips: Vec::new(),
        host_network: false,
    });
}

fn state(state: i32) -> State {
    match v1::ContainerState::try_from(state) {
        Ok(v1::ContainerState::ContainerCreated) => State::Created,
        Ok(v1::ContainerState::ContainerRunning) => State::Running,
        Ok(v1::ContainerState::ContainerExited) => State::Exited,
        _ => State::Unknown,
    }
}

/// A container in full.
pub(super) fn container(sandbox_id: &str, status: v1::ContainerStatus) -> RuntimeContainer {
    let metadata = status.metadata.unwrap_or_default();
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or_default();
    let spec = status.image.unwrap_or_default();
    let image = if spec.user_specified_image.is_empty() { spec.image } else { spec.user_specified_image };
    RuntimeContainer {
        name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        sandbox_id: sandbox_id.to_owned(),
        state: state(status.state),
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        hash: u64::from_str_radix(annotation(annotations::HASH), 16).unwrap_or(0),
        restart_count: annotation(annotations::RESTART_COUNT)
            .parse()
            .unwrap_or_else(|_| i32::try_from(metadata.attempt).unwrap_or(0)),
        user: status.user.and_then(|u| u.linux).map(|u| (u.uid, u.gid, u.supplemental_groups)),
        id: status.id,
        reason: status.reason,
        message: status.message,
        image,
        image_id: status.image_ref,
        log_path: status.log_path,
    }
}

/// A container from a list.
pub(super) fn listed_container(container: v1::Container, pod: &mut RuntimePod) {
    let metadata = container.metadata.unwrap_or_default();
    pod.containers.push(RuntimeContainer {
        name: container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        sandbox_id: container.pod_sandbox_id,
        state: state(container.state),
        created_at: container.created_at,
        started_at: 0,
        finished_at: 0,
        exit_code: 0,
        hash: 0,
        restart_count: i32::try_from(metadata.attempt).unwrap_or(0),
        user: None,
        id: container.id,
        reason: String::new(),
        message: String::new(),
        image: container.image.map(|i| i.image).unwrap_or_default(),
        image_id: container.image_ref,
        log_path: String::new(),
    });
}
