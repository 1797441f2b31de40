//! The model in CRI's words.

use super::model::{Container, Phase, Sandbox};
use cri::v1;

/// A sandbox's full status.
pub(crate) fn sandbox(of: &Sandbox) -> v1::PodSandboxStatus {
    let config = of.config();
    let mut addresses = of.record.addresses.iter().cloned();
    let network = v1::PodSandboxNetworkStatus {
        ip: addresses.next().unwrap_or_default(),
        additional_ips: addresses.map(|ip| v1::PodIp { ip }).collect(),
    };
    let options = config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .and_then(|security| security.namespace_options.clone());
    v1::PodSandboxStatus {
        id: of.record.id.clone(),
        state: of.state().into(),
        created_at: of.record.created_at,
        network: Some(network),
        linux: Some(v1::LinuxPodSandboxStatus { namespaces: Some(v1::Namespace { options }) }),
        labels: config.labels,
        annotations: config.annotations,
        metadata: config.metadata,
        runtime_handler: of.record.runtime_handler.clone(),
    }
}

/// A sandbox in a list.
pub(crate) fn sandbox_item(of: &Sandbox) -> v1::PodSandbox {
    let config = of.config();
    v1::PodSandbox {
        id: of.record.id.clone(),
        metadata: config.metadata,
        state: of.state().into(),
        created_at: of.record.created_at,
        labels: config.labels,
        annotations: config.annotations,
        runtime_handler: of.record.runtime_handler.clone(),
    }
}

/// A container's full status.
pub(crate) fn container(of: &Container) -> v1::ContainerStatus {
    let config = of.config();
    let (started_at, finished_at, exit_code, reason, message) = match of.phase() {
        Phase::Created => (0, 0, 0, String::new(), String::new()),
        Phase::Running { started_at, .. } => (started_at, 0, 0, String::new(), String::new()),
        Phase::Exited(exit) => {
            let reason = match (&exit.failure, exit.out_of_memory, exit.code, exit.started_at) {
                (Some(_), ..) => "StartError",
                (None, true, ..) => "OOMKilled",
                (None, false, 255, 0) => "Unknown",
                (None, false, 0, _) => "Completed",
                _ => "Error",
            };
            let message = exit.failure.unwrap_or_default();
            (exit.started_at, exit.finished_at, exit.code, reason.to_owned(), message)
        }
    };
    let user = &of.spec.process.user;
    let user = v1::LinuxContainerUser {
        uid: user.uid.into(),
        gid: user.gid.into(),
        supplemental_groups: user.groups.iter().map(|gid| i64::from(*gid)).collect(),
    };
    v1::ContainerStatus {
        id: of.record.id.clone(),
        state: of.state().into(),
        created_at: of.record.created_at,
        started_at,
        finished_at,
        exit_code,
        reason,
        message,
        image: Some(image_spec(of)),
        image_ref: of.record.image_ref.clone(),
        image_id: of.record.image_id.clone(),
        log_path: of.record.log_path.clone(),
        resources: of.record.resources.clone().map(|linux| v1::ContainerResources { linux: Some(linux) }),
        user: Some(v1::ContainerUser { linux: Some(user) }),
        stop_signal: config.stop_signal,
        metadata: config.metadata,
        labels: config.labels,
        annotations: config.annotations,
        mounts: config.mounts,
    }
}

/// A container in a list.
pub(crate) fn container_item(of: &Container) -> v1::Container {
    let config = of.config();
    v1::Container {
        id: of.record.id.clone(),
        pod_sandbox_id: of.record.sandbox_id.clone(),
        image: Some(image_spec(of)),
        image_ref: of.record.image_ref.clone(),
        image_id: of.record.image_id.clone(),
        state: of.state().into(),
        created_at: of.record.created_at,
        metadata: config.metadata,
        labels: config.labels,
        annotations: config.annotations,
    }
}

fn image_spec(of: &Container) -> v1::ImageSpec {
    let wished = of.config().image.unwrap_or_default();
    v1::ImageSpec { image: of.record.image_name.clone(), ..wished }
}
