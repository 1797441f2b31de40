//! Containers: regular, init (among them sidecars) and ephemeral.

use super::handlers::Hooks;
use super::mounts::{self, Mounts};
use super::{claims, env, resources, restart_rules, security};
use crate::common::{items, names, text};
use k8s_openapi::api::core::v1::*;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeSet;

/// What of the pod matters to its containers.
pub(super) struct Pod<'a> {
    pub(super) volumes: BTreeSet<&'a str>,
    pub(super) claims: BTreeSet<&'a str>,
    pub(super) host_network: bool,
    /// Termination grace period, in seconds.
    pub(super) grace: i64,
}

/// Reports bad containers of a pod spec at `path`.
pub(super) fn validate(spec: &PodSpec, pod: &Pod<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    let regular = path.child("containers");
    if spec.containers.is_empty() {
        errors.required(regular.clone(), "");
    }
    for (at, container) in spec.containers.iter().enumerate() {
        let at = regular.index(at);
        validate_one(container, pod, &at, errors);
        unique(&container.name, &mut seen, &at, errors);
        hooks(container, pod).validate(&at, errors);
        restart_rules::validate(&container.restart_policy, &container.restart_policy_rules, &at, errors);
    }
    host_ports(spec.containers.iter(), &regular, errors);
    let init = path.child("initContainers");
    for (at, container) in items(&spec.init_containers).iter().enumerate() {
        let at = init.index(at);
        validate_one(container, pod, &at, errors);
        unique(&container.name, &mut seen, &at, errors);
        init_hooks(container, pod, &at, errors);
    }
    let ephemeral = path.child("ephemeralContainers");
    for (at, container) in items(&spec.ephemeral_containers).iter().enumerate() {
        let at = ephemeral.index(at);
        validate_ephemeral(container, spec, pod, &at, errors);
        unique(&container.name, &mut seen, &at, errors);
    }
}

fn unique<'a>(name: &'a str, seen: &mut BTreeSet<&'a str>, path: &FieldPath, errors: &mut FieldErrors) {
    if !name.is_empty() && !seen.insert(name) {
        errors.duplicate(path.child("name"), name);
    }
}

fn hooks<'a>(container: &'a Container, pod: &Pod<'_>) -> Hooks<'a> {
    Hooks {
        lifecycle: &container.lifecycle,
        liveness: &container.liveness_probe,
        readiness: &container.readiness_probe,
        startup: &container.startup_probe,
        grace: pod.grace,
    }
}

/// Init containers end before the next starts, so they have nothing to probe, unless they are sidecars.
fn init_hooks(container: &Container, pod: &Pod<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    restart_rules::validate(&container.restart_policy, &container.restart_policy_rules, path, errors);
    if restart_rules::is_always(&container.restart_policy) {
        hooks(container, pod).validate(path, errors);
        return;
    }
    for (field, set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if set {
            errors.forbidden(
                path.child(field),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn name_and_image(name: &str, image: &Option<String>, path: &FieldPath, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(path.child("name"), "");
    } else {
        names::report(path.child("name"), name, names::dns1123_label(name), errors);
    }
    let image = text(image);
    if image.is_empty() {
        errors.required(path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn validate_one(container: &Container, pod: &Pod<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    name_and_image(&container.name, &container.image, path, errors);
    termination_policy(&container.termination_message_policy, path, errors);
    ports(&container.ports, pod.host_network, &path.child("ports"), errors);
    env::validate(&container.env, &path.child("env"), errors);
    env::validate_from(&container.env_from, &path.child("envFrom"), errors);
    let mounted = Mounts {
        mounts: &container.volume_mounts,
        devices: &container.volume_devices,
        security: &container.security_context,
    };
    mounts::validate(&mounted, &pod.volumes, path, errors);
    pull_policy(&container.image_pull_policy, path.child("imagePullPolicy"), errors);
    if let Some(requirements) = &container.resources {
        resources::validate(requirements, &path.child("resources"), errors);
        let used = items(&requirements.claims);
        claims::validate_used(used, &pod.claims, &path.child("resources").child("claims"), errors);
    }
    if let Some(context) = &container.security_context {
        security::container(context, &path.child("securityContext"), errors);
    }
}

fn validate_ephemeral(
    container: &EphemeralContainer,
    spec: &PodSpec,
    pod: &Pod<'_>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    name_and_image(&container.name, &container.image, path, errors);
    termination_policy(&container.termination_message_policy, path, errors);
    env::validate(&container.env, &path.child("env"), errors);
    env::validate_from(&container.env_from, &path.child("envFrom"), errors);
    let mounted = Mounts {
        mounts: &container.volume_mounts,
        devices: &container.volume_devices,
        security: &container.security_context,
    };
    mounts::validate(&mounted, &pod.volumes, path, errors);
    pull_policy(&container.image_pull_policy, path.child("imagePullPolicy"), errors);
    let resources = container.resources.as_ref();
    for (field, set) in [
        ("ports", !items(&container.ports).is_empty()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
        ("resources", resources.is_some_and(|r| r.limits.is_some() || r.requests.is_some())),
    ] {
        if set {
            errors.forbidden(path.child(field), "cannot be set for an Ephemeral Container");
        }
    }
    let target = text(&container.target_container_name);
    let mut all = spec.containers.iter().chain(items(&spec.init_containers));
    if !target.is_empty() && !all.any(|c| c.name == target) {
        errors.not_found(path.child("targetContainerName"), target);
    }
}

fn termination_policy(policy: &Option<String>, path: &FieldPath, errors: &mut FieldErrors) {
    const POLICIES: &[&str] = &["FallbackToLogsOnError", "File"];
    let at = path.child("terminationMessagePolicy");
    match text(policy) {
        "" => errors.required(at, ""),
        policy if !POLICIES.contains(&policy) => errors.not_supported(at, policy, POLICIES),
        _ => {}
    }
}

/// Reports an unknown pull policy.
pub(super) fn pull_policy(policy: &Option<String>, path: FieldPath, errors: &mut FieldErrors) {
    const POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
    match text(policy) {
        "" => errors.required(path, ""),
        policy if !POLICIES.contains(&policy) => errors.not_supported(path, policy, POLICIES),
        _ => {}
    }
}

fn ports(ports: &Option<Vec<ContainerPort>>, host_network: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, port) in items(ports).iter().enumerate() {
        let at = path.index(at);
        let name = text(&port.name);
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && !seen.insert(name) {
                errors.duplicate(at.child("name"), name);
            }
            names::report(at.child("name"), name, messages, errors);
        }
        if port.container_port == 0 {
            errors.required(at.child("containerPort"), "");
        } else {
            number(port.container_port, at.child("containerPort"), errors);
        }
        let host = port.host_port.unwrap_or_default();
        if host != 0 {
            number(host, at.child("hostPort"), errors);
        }
        if host_network && host != 0 && host != port.container_port {
            errors.invalid(
                at.child("containerPort"),
                port.container_port,
                "must match `hostPort` when `hostNetwork` is true",
            );
        }
        match text(&port.protocol) {
            "" => errors.required(at.child("protocol"), ""),
            "TCP" | "UDP" | "SCTP" => {}
            other => errors.not_supported(at.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
    }
}

fn number(port: i32, path: FieldPath, errors: &mut FieldErrors) {
    for message in names::port_number(i64::from(port)) {
        errors.invalid(path.clone(), port, message);
    }
}

/// Reports a host port that two containers of the pod claim.
fn host_ports<'a>(
    containers: impl Iterator<Item = &'a Container>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let mut seen = BTreeSet::new();
    for (at, container) in containers.enumerate() {
        for (port_at, port) in items(&container.ports).iter().enumerate() {
            let Some(host) = port.host_port.filter(|port| *port != 0) else { continue };
            let claim = format!("{}/{}/{host}", text(&port.protocol), text(&port.host_ip));
            if !seen.insert(claim.clone()) {
                errors.duplicate(path.index(at).child("ports").index(port_at).child("hostPort"), claim);
            }
        }
    }
}
