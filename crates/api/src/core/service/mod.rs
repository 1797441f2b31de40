//! `v1` Service: defaults, what stays allocated across updates, printing. Checks are in `validate`.
//!
//! Deliberately absent: handing out cluster IPs and node ports, which the API server does between
//! defaulting and validation.

mod print;
#[cfg(test)]
mod tests;
mod validate;

use crate::common::names::{self, Messages};
use crate::common::{default, default_text, items, text};
use crate::{Column, ResourceDef, Rules, Verb, meta};
use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServicePort, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath, GroupVersionKind};
use serde_json::Value;

crate::kind!(Service);

/// Seconds for which a client keeps its pod.
const AFFINITY_SECONDS: i32 = 3 * 60 * 60;
const NONE: &str = "None";

impl Rules for Service {
    fn check_name(name: &str, prefix: bool) -> Messages {
        names::service(name, prefix)
    }

    fn set_defaults(&mut self) {
        defaults(self.spec.get_or_insert_default());
        let balancer = self.status.get_or_insert_default().load_balancer.get_or_insert_default();
        for ingress in balancer.ingress.iter_mut().flatten() {
            if !text(&ingress.ip).is_empty() {
                default_text(&mut ingress.ip_mode, "VIP");
            }
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(empty_status());
        default_families(self.spec.get_or_insert_default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        let spec = self.spec.get_or_insert_default();
        if let Some(was) = &old.spec {
            keep_allocated(spec, was);
            drop_foreign_fields(spec, was);
        }
        default_families(spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::update(self, old, errors);
        validate::create(self, errors);
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let balancer = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.map(|balancer| items(&balancer.ingress)).unwrap_or_default();
        let kind = self.spec.as_ref().map(|spec| text(&spec.type_)).unwrap_or_default();
        if kind != "LoadBalancer" && !ingress.is_empty() {
            let at = FieldPath::new("status").child("loadBalancer").child("ingress");
            errors.forbidden(at, "may only be used when `spec.type` is \"LoadBalancer\"");
            return;
        }
        crate::common::status::balancer(ingress, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old
            .is_some_and(|old| old.spec == self.spec && old.metadata.annotations == self.metadata.annotations)
        {
            return Vec::new();
        }
        let Some(spec) = &self.spec else { return Vec::new() };
        let mut all = Vec::new();
        let hints = "service.kubernetes.io/topology-aware-hints";
        if self.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(hints)) {
            all.push(format!(
                "metadata.annotations[{hints}]: deprecated in v1.27+, use \"service.kubernetes.io/topology-mode\" instead"
            ));
        }
        let external = text(&spec.type_) == "ExternalName";
        let ignored_by = if is_headless(spec) {
            "when spec.clusterIP is \"None\""
        } else {
            "when spec.type is \"ExternalName\""
        };
        if is_headless(spec) || external {
            for (field, set) in [
                ("externalIPs", !items(&spec.external_ips).is_empty()),
                ("loadBalancerIP", !text(&spec.load_balancer_ip).is_empty()),
                ("sessionAffinity", !matches!(text(&spec.session_affinity), "" | NONE)),
            ] {
                if set {
                    all.push(format!("spec.{field} is ignored {ignored_by}"));
                }
            }
        }
        all
    }

    fn columns() -> Vec<Column> {
        print::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        print::cells(self, now)
    }
}

fn empty_status() -> ServiceStatus {
    ServiceStatus { load_balancer: Some(Default::default()), ..ServiceStatus::default() }
}

fn defaults(spec: &mut ServiceSpec) {
    default_text(&mut spec.session_affinity, NONE);
    match text(&spec.session_affinity) {
        NONE => spec.session_affinity_config = None,
        "ClientIP" => {
            let config = spec.session_affinity_config.get_or_insert_default();
            let client: &mut ClientIPConfig = config.client_ip.get_or_insert_default();
            default(&mut client.timeout_seconds, AFFINITY_SECONDS);
        }
        _ => {}
    }
    default_text(&mut spec.type_, "ClusterIP");
    for port in spec.ports.iter_mut().flatten() {
        default_text(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(_) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    if is_external(spec) {
        default_text(&mut spec.external_traffic_policy, "Cluster");
    }
    if text(&spec.type_) != "ExternalName" {
        default_text(&mut spec.internal_traffic_policy, "Cluster");
    }
    if text(&spec.type_) == "LoadBalancer" {
        default(&mut spec.allocate_load_balancer_node_ports, true);
    }
    // The list and the lone field mirror each other; the API server fills both when it allocates.
    match (text(&spec.cluster_ip), items(&spec.cluster_ips).first()) {
        (one, None) if !one.is_empty() => spec.cluster_ips = Some(vec![one.to_owned()]),
        ("", Some(first)) => spec.cluster_ip = Some(first.clone()),
        _ => {}
    }
}

/// Whether traffic from outside the cluster may come in.
fn is_external(spec: &ServiceSpec) -> bool {
    match text(&spec.type_) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !items(&spec.external_ips).is_empty(),
        _ => false,
    }
}

/// Whether the service has no address of its own, only its pods'.
pub fn is_headless(spec: &ServiceSpec) -> bool {
    text(&spec.type_) != "ExternalName" && text(&spec.cluster_ip) == NONE
}

/// Fills the fields of IP families on a cluster that has IPv4 only, where the client left them to the
/// cluster (KEP-563). A headless service without selector may have addresses of any family.
pub fn default_families(spec: &mut ServiceSpec) {
    if text(&spec.type_) == "ExternalName" {
        return;
    }
    let any = is_headless(spec) && spec.selector.as_ref().is_none_or(|selector| selector.is_empty());
    default_text(&mut spec.ip_family_policy, if any { "RequireDualStack" } else { "SingleStack" });
    if items(&spec.ip_families).is_empty() {
        let families = if any { vec!["IPv4", "IPv6"] } else { vec!["IPv4"] };
        spec.ip_families = Some(families.into_iter().map(str::to_owned).collect());
    }
}

/// Takes over what was allocated where the update leaves it out, so that clients need not send it back.
fn keep_allocated(spec: &mut ServiceSpec, was: &ServiceSpec) {
    let (kind, old_kind) = (text(&spec.type_).to_owned(), text(&was.type_));
    let has_ip = |kind: &str| kind != "ExternalName";
    if has_ip(&kind) && has_ip(old_kind) {
        if text(&spec.cluster_ip).is_empty() && items(&spec.cluster_ips).is_empty() {
            spec.cluster_ip.clone_from(&was.cluster_ip);
            spec.cluster_ips.clone_from(&was.cluster_ips);
        }
        if spec.cluster_ip != was.cluster_ip && spec.cluster_ips == was.cluster_ips {
            // Only the lone field was changed: it is what the client means.
            spec.cluster_ips = spec.cluster_ip.clone().filter(|ip| !ip.is_empty()).map(|ip| vec![ip]);
        }
        if spec.ip_family_policy.is_none() {
            spec.ip_family_policy.clone_from(&was.ip_family_policy);
        }
        if items(&spec.ip_families).is_empty() {
            spec.ip_families.clone_from(&was.ip_families);
        }
    }
    let has_node_ports = |kind: &str| ["NodePort", "LoadBalancer"].contains(&kind);
    if has_node_ports(&kind) && has_node_ports(old_kind) {
        keep_node_ports(spec.ports.as_deref_mut().unwrap_or_default(), items(&was.ports));
    }
    if needs_health_check(spec)
        && needs_health_check(was)
        && spec.health_check_node_port.unwrap_or_default() == 0
    {
        spec.health_check_node_port = was.health_check_node_port;
    }
}

fn keep_node_ports(ports: &mut [ServicePort], was: &[ServicePort]) {
    let used: Vec<i32> = ports.iter().filter_map(|port| port.node_port).filter(|port| *port != 0).collect();
    for port in ports.iter_mut().filter(|port| port.node_port.unwrap_or_default() == 0) {
        let same = was.iter().find(|old| old.port == port.port && old.protocol == port.protocol);
        port.node_port = same.and_then(|old| old.node_port).filter(|port| !used.contains(port));
    }
}

/// Whether load balancers ask each node if it has a pod of the service.
pub fn needs_health_check(spec: &ServiceSpec) -> bool {
    text(&spec.type_) == "LoadBalancer" && text(&spec.external_traffic_policy) == "Local"
}

/// Clears what belongs to the service's former type and was not changed by this update.
fn drop_foreign_fields(spec: &mut ServiceSpec, was: &ServiceSpec) {
    let kind = text(&spec.type_).to_owned();
    if kind == text(&was.type_) {
        return;
    }
    if kind == "ExternalName" {
        if spec.cluster_ips == was.cluster_ips {
            spec.cluster_ip = None;
            spec.cluster_ips = None;
        }
        if spec.ip_families == was.ip_families {
            spec.ip_families = None;
        }
        if spec.ip_family_policy == was.ip_family_policy {
            spec.ip_family_policy = None;
        }
        if spec.internal_traffic_policy == was.internal_traffic_policy {
            spec.internal_traffic_policy = None;
        }
    } else if text(&was.type_) == "ExternalName" && spec.external_name == was.external_name {
        spec.external_name = None;
    }
    if !["NodePort", "LoadBalancer"].contains(&kind.as_str()) {
        for port in spec.ports.iter_mut().flatten() {
            let same = |old: &&ServicePort| old.port == port.port && old.node_port == port.node_port;
            if items(&was.ports).iter().any(|old| same(&old)) {
                port.node_port = None;
            }
        }
    }
    if !is_external(spec) && spec.external_traffic_policy == was.external_traffic_policy {
        spec.external_traffic_policy = None;
    }
    if kind != "LoadBalancer" {
        if spec.allocate_load_balancer_node_ports == was.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if spec.load_balancer_class == was.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    if !needs_health_check(spec) && spec.health_check_node_port == was.health_check_node_port {
        spec.health_check_node_port = None;
    }
}

/// The resource `services`.
pub fn def() -> ResourceDef {
    let proxy = [Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    ResourceDef::of::<Service>()
        .short(&["svc"])
        .category("all")
        .subresource("proxy", Some(GroupVersionKind::new("", "v1", "ServiceProxyOptions")), &proxy)
        .status()
        .select::<Service>("spec.clusterIP", |service| {
            service.spec.as_ref().map(|spec| text(&spec.cluster_ip).to_owned()).unwrap_or_default()
        })
        .select::<Service>("spec.type", |service| {
            service.spec.as_ref().map(|spec| text(&spec.type_).to_owned()).unwrap_or_default()
        })
}
