//! Volume mounts and devices of a container.

use super::volume_sources::descending;
use crate::common::{items, text};
use k8s_openapi::api::core::v1::{SecurityContext, VolumeDevice, VolumeMount};
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeSet;

/// What a container mounts.
pub(super) struct Mounts<'a> {
    pub(super) mounts: &'a Option<Vec<VolumeMount>>,
    pub(super) devices: &'a Option<Vec<VolumeDevice>>,
    pub(super) security: &'a Option<SecurityContext>,
}

/// Reports bad mounts of a container at `path`; `volumes` are the pod's.
pub(super) fn validate(
    container: &Mounts<'_>,
    volumes: &BTreeSet<&str>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let mut seen = BTreeSet::new();
    for (at, mount) in items(container.mounts).iter().enumerate() {
        let at = path.child("volumeMounts").index(at);
        name(&mount.name, volumes, &at, errors);
        if mount.mount_path.is_empty() {
            errors.required(at.child("mountPath"), "");
        }
        if !seen.insert(mount.mount_path.as_str()) {
            errors.invalid(at.child("mountPath"), &mount.mount_path, "must be unique");
        }
        sub_path(mount, &at, errors);
        propagation(mount, container.security.as_ref(), &at, errors);
    }
    let mut devices = BTreeSet::new();
    for (at, device) in items(container.devices).iter().enumerate() {
        let at = path.child("volumeDevices").index(at);
        name(&device.name, volumes, &at, errors);
        if device.device_path.is_empty() {
            errors.required(at.child("devicePath"), "");
        }
        if !devices.insert(device.device_path.as_str()) {
            errors.invalid(at.child("devicePath"), &device.device_path, "must be unique");
        }
        if seen.contains(device.device_path.as_str()) {
            errors.invalid(
                at.child("devicePath"),
                &device.device_path,
                "must not already exist as a path in volumeMounts",
            );
        }
    }
}

fn name(name: &str, volumes: &BTreeSet<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(path.child("name"), "");
    }
    if !volumes.contains(name) {
        errors.not_found(path.child("name"), name);
    }
}

fn sub_path(mount: &VolumeMount, path: &FieldPath, errors: &mut FieldErrors) {
    let (plain, expanded) = (text(&mount.sub_path), text(&mount.sub_path_expr));
    if !plain.is_empty() {
        descending(plain, path.child("subPath"), errors);
    }
    if !expanded.is_empty() {
        if !plain.is_empty() {
            errors.invalid(
                path.child("subPathExpr"),
                expanded,
                "subPathExpr and subPath are mutually exclusive",
            );
        }
        descending(expanded, path.child("subPathExpr"), errors);
    }
}

fn propagation(
    mount: &VolumeMount,
    security: Option<&SecurityContext>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    const MODES: &[&str] = &["Bidirectional", "HostToContainer", "None"];
    if let Some(mode) = &mount.mount_propagation {
        let at = path.child("mountPropagation");
        if !MODES.contains(&mode.as_str()) {
            errors.not_supported(at.clone(), mode, MODES);
        }
        if mode == "Bidirectional" && security.and_then(|s| s.privileged) != Some(true) {
            errors
                .forbidden(at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    if let Some(mode) = &mount.recursive_read_only {
        let at = path.child("recursiveReadOnly");
        if !["Disabled", "Enabled", "IfPossible"].contains(&mode.as_str()) {
            errors.not_supported(at, mode, &["Disabled", "Enabled", "IfPossible"]);
        } else if mode != "Disabled" && mount.read_only != Some(true) {
            errors.forbidden(at, "may only be specified when readOnly is true");
        }
    }
}
