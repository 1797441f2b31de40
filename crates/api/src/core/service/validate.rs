//! What is wrong with a service.

use super::{NONE, is_external, is_headless, needs_health_check};
use crate::common::pod::handlers;
use crate::common::{items, json as printed, names, net, text};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use machinery::{FieldErrors, FieldPath};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn create(service: &Service, errors: &mut FieldErrors) {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let path = FieldPath::new("spec");
    let kind = text(&spec.type_);
    if kind.is_empty() {
        errors.required(path.child("type"), "");
    } else if !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, TYPES);
    }
    if kind == "ExternalName" {
        external_name(spec, &path, errors);
    } else {
        cluster_ips(spec, &path, errors);
        if items(&spec.ports).is_empty() && !is_headless(spec) {
            errors.required(path.child("ports"), "");
        }
    }
    ports(spec, &path, errors);
    if let Some(selector) = &spec.selector {
        names::validate_labels(selector, &path.child("selector"), errors);
    }
    affinity(spec, &path, errors);
    for (at, ip) in items(&spec.external_ips).iter().enumerate() {
        let at = path.child("externalIPs").index(at);
        match ip.parse::<IpAddr>() {
            Err(_) => errors.invalid(at, ip, net::NOT_AN_IP),
            Ok(address) => {
                if let Some(why) = net::not_an_endpoint(address) {
                    errors.invalid(at, ip, why);
                }
            }
        }
    }
    traffic(spec, &path, errors);
    balancer(spec, &path, errors);
}

fn external_name(spec: &ServiceSpec, path: &FieldPath, errors: &mut FieldErrors) {
    const NOT_HERE: &str = "may not be set for ExternalName services";
    for (field, set) in [
        ("clusterIP", !text(&spec.cluster_ip).is_empty()),
        ("clusterIPs", !items(&spec.cluster_ips).is_empty()),
        ("ipFamilies", !items(&spec.ip_families).is_empty()),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        if set {
            errors.forbidden(path.child(field), NOT_HERE);
        }
    }
    let name = text(&spec.external_name);
    if name.is_empty() {
        errors.required(path.child("externalName"), "");
    } else {
        let bare = name.to_lowercase();
        let bare = bare.strip_suffix('.').unwrap_or(&bare);
        names::report(path.child("externalName"), name, names::dns1123_subdomain(bare), errors);
    }
}

fn cluster_ips(spec: &ServiceSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let ips = items(&spec.cluster_ips);
    let at = path.child("clusterIPs");
    let kind = text(&spec.type_);
    if let Some(first) = ips.first()
        && text(&spec.cluster_ip) != first
    {
        errors.invalid(at.clone(), printed::list(ips), "first value must match `clusterIP`");
    }
    for (index, ip) in ips.iter().enumerate() {
        let at = at.index(index);
        if ip == NONE {
            if index > 0 || ips.len() > 1 {
                errors.invalid(at, ip, "'None' must be the first and only value");
            } else if kind != "ClusterIP" {
                errors.invalid(at, ip, format!("may not be set to 'None' for {kind} services"));
            }
        } else {
            net::ip(ip, at, errors);
        }
    }
    if ips.len() > 2 {
        errors.invalid(at, printed::list(ips), "may only hold up to 2 values");
    }
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = &spec.ip_family_policy
        && !POLICIES.contains(&policy.as_str())
    {
        errors.not_supported(path.child("ipFamilyPolicy"), policy, POLICIES);
    }
    let mut seen = BTreeSet::new();
    for (index, family) in items(&spec.ip_families).iter().enumerate() {
        let at = path.child("ipFamilies").index(index);
        if !["IPv4", "IPv6"].contains(&family.as_str()) {
            errors.not_supported(at.clone(), family, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family) {
            errors.duplicate(at, family);
        }
    }
}

fn ports(spec: &ServiceSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let ports = items(&spec.ports);
    let mut seen_names = BTreeSet::new();
    let mut seen_ports = BTreeSet::new();
    let mut seen_node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = path.child("ports").index(index);
        let name = text(&port.name);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(at.child("name"), "");
            }
        } else {
            names::report(at.child("name"), name, names::dns1123_label(name), errors);
            if !seen_names.insert(name) {
                errors.duplicate(at.child("name"), name);
            }
        }
        validate_port(port, &at, errors);
        let protocol = text(&port.protocol);
        let node_port = port.node_port.unwrap_or_default();
        if node_port != 0 {
            if text(&spec.type_) == "ClusterIP" {
                errors.forbidden(at.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if !seen_node_ports.insert((protocol, node_port)) {
                errors.duplicate(at.child("nodePort"), node_port);
            }
        }
        if !seen_ports.insert((protocol, port.port)) {
            errors.duplicate(at, json!({"protocol": protocol, "port": port.port}));
        }
    }
}

fn validate_port(port: &ServicePort, path: &FieldPath, errors: &mut FieldErrors) {
    for message in names::port_number(i64::from(port.port)) {
        errors.invalid(path.child("port"), port.port, message);
    }
    match text(&port.protocol) {
        "" => errors.required(path.child("protocol"), ""),
        "TCP" | "UDP" | "SCTP" => {}
        other => errors.not_supported(path.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
    }
    if let Some(target) = &port.target_port {
        handlers::port(target, &path.child("targetPort"), errors);
    }
    if let Some(protocol) = &port.app_protocol {
        names::report(path.child("appProtocol"), protocol, names::qualified_name(protocol), errors);
    }
}

fn affinity(spec: &ServiceSpec, path: &FieldPath, errors: &mut FieldErrors) {
    const DAY: i32 = 24 * 60 * 60;
    match text(&spec.session_affinity) {
        "" => errors.required(path.child("sessionAffinity"), ""),
        "ClientIP" => {
            let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
            let at = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
            if let Some(seconds) = config.and_then(|client| client.timeout_seconds)
                && !(1..=DAY).contains(&seconds)
            {
                errors.invalid(at, seconds, format!("must be greater than 0 and less than {DAY}"));
            }
        }
        NONE => {
            if spec.session_affinity_config.is_some() {
                errors.forbidden(
                    path.child("sessionAffinityConfig"),
                    "must not be set when session affinity is None",
                );
            }
        }
        other => errors.not_supported(path.child("sessionAffinity"), other, &["ClientIP", NONE]),
    }
}

fn traffic(spec: &ServiceSpec, path: &FieldPath, errors: &mut FieldErrors) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    let at = path.child("externalTrafficPolicy");
    match (is_external(spec), text(&spec.external_traffic_policy)) {
        (true, "") => errors.required(at, ""),
        (true, policy) if !POLICIES.contains(&policy) => errors.not_supported(at, policy, POLICIES),
        (false, policy) if !policy.is_empty() => {
            errors.invalid(at, policy, "may only be set for externally-accessible services");
        }
        _ => {}
    }
    if let Some(policy) = &spec.internal_traffic_policy
        && !POLICIES.contains(&policy.as_str())
    {
        errors.not_supported(path.child("internalTrafficPolicy"), policy, POLICIES);
    }
    let port = spec.health_check_node_port.unwrap_or_default();
    let at = path.child("healthCheckNodePort");
    if !(0..=65535).contains(&port) {
        errors.invalid(at, port, "must be a valid port");
    } else if port != 0 && !needs_health_check(spec) {
        errors.invalid(
            at,
            port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
    if let Some(distribution) = &spec.traffic_distribution
        && !DISTRIBUTIONS.contains(&distribution.as_str())
    {
        errors.not_supported(path.child("trafficDistribution"), distribution, DISTRIBUTIONS);
    }
}

fn balancer(spec: &ServiceSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let is_balancer = text(&spec.type_) == "LoadBalancer";
    let ranges = items(&spec.load_balancer_source_ranges);
    let at = path.child("loadBalancerSourceRanges");
    if !ranges.is_empty() && !is_balancer {
        errors.forbidden(at.clone(), "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in ranges.iter().enumerate() {
        net::cidr(range.trim(), at.index(index), errors);
    }
    if spec.allocate_load_balancer_node_ports.is_some() && !is_balancer {
        errors.forbidden(
            path.child("allocateLoadBalancerNodePorts"),
            "may only be used when `type` is 'LoadBalancer'",
        );
    }
    if let Some(class) = &spec.load_balancer_class {
        let at = path.child("loadBalancerClass");
        if is_balancer {
            names::report(at, class, names::qualified_name(class), errors);
        } else {
            errors.forbidden(at, "may only be used when `type` is 'LoadBalancer'");
        }
    }
}

/// Reports an allocated address that changed.
pub(super) fn update(service: &Service, old: &Service, errors: &mut FieldErrors) {
    let (Some(spec), Some(was)) = (&service.spec, &old.spec) else { return };
    if text(&spec.type_) == "ExternalName" || text(&was.type_) == "ExternalName" {
        return;
    }
    let (now, before) = (items(&spec.cluster_ips), items(&was.cluster_ips));
    if let Some(first) = before.first()
        && now.first() != Some(first)
    {
        let at = FieldPath::new("spec").child("clusterIPs").index(0);
        errors.invalid(at, printed::list(now), "may not change once set");
    }
    let class = |spec: &ServiceSpec| spec.load_balancer_class.clone();
    if text(&spec.type_) == "LoadBalancer" && text(&was.type_) == "LoadBalancer" && class(spec) != class(was)
    {
        let at = FieldPath::new("spec").child("loadBalancerClass");
        errors.invalid(at, json!(class(spec)), "may not change once set");
    }
}
