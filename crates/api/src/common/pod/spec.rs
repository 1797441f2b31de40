//! Validation of a pod spec as a whole.

use super::containers::{self, Pod};
use super::{claims, scheduling, security, volumes, windows};
use crate::common::{items, names, text};
use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};
use machinery::{FieldErrors, FieldPath};
use std::net::IpAddr;

/// What an omitted grace period is, in seconds.
const GRACE: i64 = 30;

/// Reports what is wrong with a pod spec at `path`.
pub fn validate(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let items_of_volumes = items(&spec.volumes);
    let pod = Pod {
        volumes: volumes::validate(items_of_volumes, &path.child("volumes"), errors),
        claims: claims::validate(items(&spec.resource_claims), &path.child("resourceClaims"), errors),
        host_network: spec.host_network == Some(true),
        grace: spec.termination_grace_period_seconds.unwrap_or(GRACE),
    };
    containers::validate(spec, &pod, path, errors);
    policies(spec, path, errors);
    scheduling::validate(spec, path, errors);
    if let Some(context) = &spec.security_context {
        security::pod(context, &path.child("securityContext"), errors);
    }
    security::sharing(spec, path, errors);
    windows::host_process(spec, path, errors);
    windows::fits_system(spec, path, errors);
    references(spec, path, errors);
    identity(spec, path, errors);
    if let Some(requirements) = &spec.resources {
        super::resources::validate(requirements, &path.child("resources"), errors);
    }
}

fn policies(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    const RESTART: &[&str] = &["Always", "Never", "OnFailure"];
    const DNS: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    for (field, value, allowed) in
        [("restartPolicy", &spec.restart_policy, RESTART), ("dnsPolicy", &spec.dns_policy, DNS)]
    {
        match text(value) {
            "" => errors.required(path.child(field), ""),
            value if !allowed.contains(&value) => errors.not_supported(path.child(field), value, allowed),
            _ => {}
        }
    }
    dns(spec, path, errors);
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errors.invalid(
            path.child("activeDeadlineSeconds"),
            seconds,
            names::inclusive_range(1, i64::from(i32::MAX)),
        );
    }
    if let Some(policy) = &spec.preemption_policy
        && !["Never", "PreemptLowerPriority"].contains(&policy.as_str())
    {
        errors.not_supported(path.child("preemptionPolicy"), policy, &["Never", "PreemptLowerPriority"]);
    }
    if let Some(os) = &spec.os {
        let at = path.child("os").child("name");
        match os.name.as_str() {
            "" => errors.required(at, "cannot be empty"),
            "linux" | "windows" => {}
            other => errors.not_supported(at, other, &["linux", "windows"]),
        }
    }
}

fn dns(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("dnsConfig");
    let empty = PodDNSConfig::default();
    let config = spec.dns_config.as_ref().unwrap_or(&empty);
    let servers = items(&config.nameservers);
    if text(&spec.dns_policy) == "None" && servers.is_empty() {
        errors.required(
            path.child("nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    if servers.len() > 3 {
        errors.invalid(
            path.child("nameservers"),
            crate::common::json::list(servers),
            "must not have more than 3 nameservers",
        );
    }
    for (at, server) in servers.iter().enumerate() {
        crate::common::net::ip(server, path.child("nameservers").index(at), errors);
    }
    let searches = items(&config.searches);
    if searches.len() > 32 {
        errors.invalid(
            path.child("searches"),
            crate::common::json::list(searches),
            "must not have more than 32 search paths",
        );
    }
    for (at, option) in items(&config.options).iter().enumerate() {
        if text(&option.name).is_empty() {
            errors.required(path.child("options").index(at), "must not be empty");
        }
    }
}

fn references(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let subdomains = [
        ("serviceAccountName", &spec.service_account_name),
        ("nodeName", &spec.node_name),
        ("priorityClassName", &spec.priority_class_name),
    ];
    for (field, value) in subdomains {
        let value = text(value);
        if !value.is_empty() {
            names::report(path.child(field), value, names::dns1123_subdomain(value), errors);
        }
    }
    for (at, gate) in items(&spec.readiness_gates).iter().enumerate() {
        let kind = &gate.condition_type;
        let at = path.child("readinessGates").index(at).child("conditionType");
        names::report(at, kind, names::qualified_name(kind), errors);
    }
    for (at, alias) in items(&spec.host_aliases).iter().enumerate() {
        let at = path.child("hostAliases").index(at);
        if alias.ip.parse::<IpAddr>().is_err() {
            errors.invalid(at.child("ip"), &alias.ip, crate::common::net::NOT_AN_IP);
        }
        for (host_at, host) in items(&alias.hostnames).iter().enumerate() {
            let at = at.child("hostnames").index(host_at);
            names::report(at, host, names::dns1123_subdomain(host), errors);
        }
    }
}

fn identity(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        let value = text(value);
        if !value.is_empty() {
            names::report(path.child(field), value, names::dns1123_label(value), errors);
        }
    }
}
