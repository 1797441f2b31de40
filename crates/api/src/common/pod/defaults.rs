//! Defaults of pod specs, as workloads' templates and pods share them.
//!
//! Source: field documentation of `core/v1`. Deliberately absent: what only a bare pod gets (see
//! `core/pod`), and what admission sets (priority, tolerations, service account).

use super::image::pull_policy;
use crate::common::{default, default_nonzero, default_text, volume_claim};
use k8s_openapi::api::core::v1::*;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Mode of projected files, 0644.
const FILE_MODE: i32 = 0o644;
/// Seconds that a projected service-account token is valid.
const TOKEN_SECONDS: i64 = 3600;

/// Fills a pod template.
pub fn template(template: &mut PodTemplateSpec) {
    default(&mut template.metadata, Default::default());
    spec(template.spec.get_or_insert_default());
}

/// Fills a pod spec.
pub fn spec(spec: &mut PodSpec) {
    default_text(&mut spec.dns_policy, "ClusterFirst");
    default_text(&mut spec.restart_policy, "Always");
    default_text(&mut spec.scheduler_name, "default-scheduler");
    default(&mut spec.security_context, PodSecurityContext::default());
    default(&mut spec.termination_grace_period_seconds, 30);
    // The old name of the field always mirrors the new one.
    if spec.service_account_name.as_deref().is_none_or(str::is_empty) {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    spec.service_account.clone_from(&spec.service_account_name);
    for volume in spec.volumes.iter_mut().flatten() {
        self::volume(volume);
    }
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        self::container(container);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        ephemeral(container);
    }
    if let Some(overhead) = &mut spec.overhead {
        crate::common::amounts::normalize(overhead);
    }
}

fn container(container: &mut Container) {
    default_text(
        &mut container.image_pull_policy,
        pull_policy(container.image.as_deref().unwrap_or_default()),
    );
    default_text(&mut container.termination_message_path, "/dev/termination-log");
    default_text(&mut container.termination_message_policy, "File");
    resources(container.resources.get_or_insert_default());
    ports(&mut container.ports);
    env(&mut container.env);
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe);
    lifecycle(&mut container.lifecycle);
}

fn ephemeral(container: &mut EphemeralContainer) {
    default_text(
        &mut container.image_pull_policy,
        pull_policy(container.image.as_deref().unwrap_or_default()),
    );
    default_text(&mut container.termination_message_path, "/dev/termination-log");
    default_text(&mut container.termination_message_policy, "File");
    resources(container.resources.get_or_insert_default());
    ports(&mut container.ports);
    env(&mut container.env);
}

/// Fills the resources of a container: amounts are rounded up to thousandths and written canonically.
fn resources(resources: &mut ResourceRequirements) {
    for amounts in [&mut resources.limits, &mut resources.requests].into_iter().flatten() {
        crate::common::amounts::normalize(amounts);
    }
}

fn ports(ports: &mut Option<Vec<ContainerPort>>) {
    for port in ports.iter_mut().flatten() {
        default_text(&mut port.protocol, "TCP");
    }
}

fn env(env: &mut Option<Vec<EnvVar>>) {
    for source in env.iter_mut().flatten().filter_map(|var| var.value_from.as_mut()) {
        field_ref(&mut source.field_ref);
        resource_ref(&mut source.resource_field_ref);
    }
}

fn field_ref(field: &mut Option<ObjectFieldSelector>) {
    if let Some(field) = field {
        default_text(&mut field.api_version, "v1");
    }
}

fn resource_ref(field: &mut Option<ResourceFieldSelector>) {
    if let Some(field) = field {
        default(&mut field.divisor, Quantity("0".to_owned()));
    }
}

fn probe(probe: &mut Probe) {
    default_nonzero(&mut probe.timeout_seconds, 1);
    default_nonzero(&mut probe.period_seconds, 10);
    default_nonzero(&mut probe.success_threshold, 1);
    default_nonzero(&mut probe.failure_threshold, 3);
    http_get(&mut probe.http_get);
    if let Some(grpc) = &mut probe.grpc {
        default(&mut grpc.service, String::new());
    }
}

fn lifecycle(lifecycle: &mut Option<Lifecycle>) {
    let Some(lifecycle) = lifecycle else { return };
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
        http_get(&mut handler.http_get);
    }
}

fn http_get(action: &mut Option<HTTPGetAction>) {
    if let Some(action) = action {
        default_text(&mut action.path, "/");
        default_text(&mut action.scheme, "HTTP");
    }
}

/// Fills a volume; one that names no source is an `emptyDir`.
fn volume(volume: &mut Volume) {
    if super::volumes::sources(volume).is_empty() {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(secret) = &mut volume.secret {
        default(&mut secret.default_mode, FILE_MODE);
    }
    if let Some(map) = &mut volume.config_map {
        default(&mut map.default_mode, FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        default(&mut downward.default_mode, FILE_MODE);
        downward_items(&mut downward.items);
    }
    if let Some(projected) = &mut volume.projected {
        self::projected(projected);
    }
    if let Some(path) = &mut volume.host_path {
        default(&mut path.type_, String::new());
    }
    if let Some(image) = &mut volume.image {
        let policy = pull_policy(image.reference.as_deref().unwrap_or_default());
        default_text(&mut image.pull_policy, policy);
    }
    if let Some(template) = volume.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        volume_claim::defaults(&mut template.spec);
    }
    network_volume(volume);
}

fn projected(projected: &mut ProjectedVolumeSource) {
    default(&mut projected.default_mode, FILE_MODE);
    for source in projected.sources.iter_mut().flatten() {
        if let Some(token) = &mut source.service_account_token {
            default(&mut token.expiration_seconds, TOKEN_SECONDS);
        }
        if let Some(downward) = &mut source.downward_api {
            downward_items(&mut downward.items);
        }
    }
}

fn downward_items(items: &mut Option<Vec<DownwardAPIVolumeFile>>) {
    for item in items.iter_mut().flatten() {
        field_ref(&mut item.field_ref);
        resource_ref(&mut item.resource_field_ref);
    }
}

fn network_volume(volume: &mut Volume) {
    if let Some(iscsi) = &mut volume.iscsi {
        default_text(&mut iscsi.iscsi_interface, "default");
    }
    if let Some(rbd) = &mut volume.rbd {
        default_text(&mut rbd.pool, "rbd");
        default_text(&mut rbd.user, "admin");
        default_text(&mut rbd.keyring, "/etc/ceph/keyring");
    }
    if let Some(disk) = &mut volume.azure_disk {
        default_text(&mut disk.caching_mode, "ReadWrite");
        default_text(&mut disk.kind, "Shared");
        default_text(&mut disk.fs_type, "ext4");
        default(&mut disk.read_only, false);
    }
    if let Some(scale_io) = &mut volume.scale_io {
        default_text(&mut scale_io.storage_mode, "ThinProvisioned");
        default_text(&mut scale_io.fs_type, "xfs");
    }
}
