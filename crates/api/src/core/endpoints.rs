//! `v1` Endpoints: the addresses behind a service in one object, superseded by EndpointSlice.

use crate::common::{default_text, items, names, net, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};
use std::net::IpAddr;

crate::kind!(Endpoints);

impl Rules for Endpoints {
    fn set_defaults(&mut self) {
        for port in self.subsets.iter_mut().flatten().flat_map(|subset| subset.ports.iter_mut().flatten()) {
            default_text(&mut port.protocol, "TCP");
        }
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        for (at, subset) in items(&self.subsets).iter().enumerate() {
            validate_subset(subset, &FieldPath::new("subsets").index(at), errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("Endpoints", "string", "Addresses that answer."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![name_cell(self), json!(display(self)), age_cell(self, now)]
    }

    fn warnings(&self, _: Option<&Self>) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    }
}

/// At most three `ip:port`, and how many more there are.
fn display(endpoints: &Endpoints) -> String {
    let mut all = Vec::new();
    for subset in items(&endpoints.subsets) {
        let ports = items(&subset.ports);
        for address in items(&subset.addresses) {
            if ports.is_empty() {
                all.push(address.ip.clone());
            }
            for port in ports {
                let host: Result<IpAddr, _> = address.ip.parse();
                all.push(match host {
                    Ok(IpAddr::V6(_)) => format!("[{}]:{}", address.ip, port.port),
                    _ => format!("{}:{}", address.ip, port.port),
                });
            }
        }
    }
    crate::common::print::first_three(&all)
}

fn validate_subset(subset: &EndpointSubset, path: &FieldPath, errors: &mut FieldErrors) {
    if items(&subset.addresses).is_empty() && items(&subset.not_ready_addresses).is_empty() {
        errors.required(path.clone(), "must specify `addresses` or `notReadyAddresses`");
    }
    for (field, list) in
        [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
    {
        for (at, address) in items(list).iter().enumerate() {
            validate_address(address, &path.child(field).index(at), errors);
        }
    }
    let ports = items(&subset.ports);
    for (at, port) in ports.iter().enumerate() {
        let at = path.child("ports").index(at);
        let name = text(&port.name);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(at.child("name"), "");
            }
        } else {
            names::report(at.child("name"), name, names::dns1123_label(name), errors);
        }
        for message in names::port_number(i64::from(port.port)) {
            errors.invalid(at.child("port"), port.port, message);
        }
        match text(&port.protocol) {
            "" => errors.required(at.child("protocol"), ""),
            "TCP" | "UDP" | "SCTP" => {}
            other => errors.not_supported(at.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
    }
}

fn validate_address(address: &EndpointAddress, path: &FieldPath, errors: &mut FieldErrors) {
    match address.ip.parse::<IpAddr>() {
        Err(_) => errors.invalid(path.child("ip"), &address.ip, net::NOT_AN_IP),
        Ok(ip) => {
            if let Some(why) = net::not_an_endpoint(ip) {
                errors.invalid(path.child("ip"), &address.ip, why);
            }
        }
    }
    let host = text(&address.hostname);
    if !host.is_empty() {
        names::report(path.child("hostname"), host, names::dns1123_label(host), errors);
    }
    let node = text(&address.node_name);
    if !node.is_empty() {
        names::report(path.child("nodeName"), node, names::dns1123_subdomain(node), errors);
    }
}

/// The resource `endpoints`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Endpoints>().short(&["ep"])
}
