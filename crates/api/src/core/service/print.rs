//! A service's row.

use crate::common::print::or_none;
use crate::common::{items, selector, text};
use crate::resource::{Column, age_cell, name_cell};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Type", "string", "How the service is exposed."),
        Column::new("Cluster-IP", "string", "Address within the cluster."),
        Column::new("External-IP", "string", "Addresses from outside the cluster."),
        Column::new("Port(s)", "string", "Ports, and ports on nodes."),
        Column::age(),
        Column::new("Selector", "string", "Which pods answer.").wide(),
    ]
}

pub(super) fn cells(service: &Service, now: Timestamp) -> Vec<Value> {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let ip = items(&spec.cluster_ips).first().map_or(text(&spec.cluster_ip), String::as_str);
    vec![
        name_cell(service),
        json!(text(&spec.type_)),
        or_none(ip),
        json!(external(service, spec)),
        or_none(&ports(spec)),
        age_cell(service, now),
        json!(selector::display_labels(&spec.selector)),
    ]
}

fn external(service: &Service, spec: &ServiceSpec) -> String {
    let ips = items(&spec.external_ips);
    let joined = if ips.is_empty() { "<none>".to_owned() } else { ips.join(",") };
    match text(&spec.type_) {
        "ClusterIP" | "NodePort" => joined,
        "ExternalName" => text(&spec.external_name).to_owned(),
        "LoadBalancer" => {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let ingress = balancer.map(|balancer| items(&balancer.ingress)).unwrap_or_default();
            let mut all: Vec<&str> = ingress
                .iter()
                .map(|i| if text(&i.ip).is_empty() { text(&i.hostname) } else { text(&i.ip) })
                .filter(|address| !address.is_empty())
                .collect();
            all.extend(ips.iter().map(String::as_str));
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &ServiceSpec) -> String {
    let ports = items(&spec.ports).iter().map(|port| match port.node_port.unwrap_or_default() {
        0 => format!("{}/{}", port.port, text(&port.protocol)),
        node => format!("{}:{node}/{}", port.port, text(&port.protocol)),
    });
    ports.collect::<Vec<_>>().join(",")
}
