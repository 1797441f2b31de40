//! `discovery.k8s.io/v1` EndpointSlice.

use crate::common::print::first_three;
use crate::common::{default, default_text, items, names, net, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

crate::kind!(EndpointSlice);

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

impl Rules for EndpointSlice {
    fn set_defaults(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            default(&mut port.name, String::new());
            default_text(&mut port.protocol, "TCP");
        }
    }

    fn prepare_create(&mut self) {
        self.metadata.generation = Some(1);
    }

    fn prepare_update(&mut self, old: &Self) {
        let labels = self.metadata.labels != old.metadata.labels;
        let changed = labels || self.endpoints != old.endpoints || self.ports != old.ports;
        crate::common::next_generation(&mut self.metadata, &old.metadata, changed);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let at = FieldPath::new("addressType");
        match self.address_type.as_str() {
            "" => errors.required(at, ""),
            kind if !TYPES.contains(&kind) => errors.not_supported(at, kind, TYPES),
            _ => {}
        }
        let path = FieldPath::new("endpoints");
        let endpoints = items(&self.endpoints);
        if endpoints.len() > MAX_ENDPOINTS {
            errors.too_many(path.clone(), endpoints.len(), MAX_ENDPOINTS);
        }
        for (at, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, &self.address_type, &path.index(at), errors);
        }
        validate_ports(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let (new, was) = (self.address_type.as_str(), old.address_type.as_str());
        errors.immutable(FieldPath::new("addressType"), &new, &was, new);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("AddressType", "string", "What kind of addresses it lists."),
            Column::new("Ports", "string", "Ports of the addresses."),
            Column::new("Endpoints", "string", "The addresses."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![
            name_cell(self),
            json!(self.address_type),
            json!(display_ports(self)),
            json!(display_endpoints(items(&self.endpoints))),
            age_cell(self, now),
        ]
    }
}

fn display_ports(slice: &EndpointSlice) -> String {
    let ports: Vec<String> = items(&slice.ports)
        .iter()
        .map(|port| match (text(&port.name), port.port) {
            (_, Some(number)) => number.to_string(),
            ("", None) => "*".to_owned(),
            (name, None) => name.to_owned(),
        })
        .collect();
    if ports.is_empty() { "<unset>".to_owned() } else { first_three(&ports) }
}

fn display_endpoints(endpoints: &[Endpoint]) -> String {
    let all: Vec<String> = endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()).collect();
    if all.is_empty() { "<unset>".to_owned() } else { first_three(&all) }
}

fn validate_endpoint(endpoint: &Endpoint, kind: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(at.clone(), "must contain at least 1 address"),
        many if many > MAX_ADDRESSES => errors.too_many(at.clone(), many, MAX_ADDRESSES),
        _ => {}
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        let at = at.index(index);
        match (kind, address.parse::<IpAddr>()) {
            ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {
                if let Some(why) = address.parse().ok().and_then(net::not_an_endpoint) {
                    errors.invalid(at, address, why);
                }
            }
            ("IPv4", _) => errors.invalid(at, address, "must be a valid IPv4 address"),
            ("IPv6", _) => errors.invalid(at, address, "must be a valid IPv6 address"),
            ("FQDN", _) => names::report(at, address, names::dns1123_subdomain(address), errors),
            _ => {}
        }
    }
    let node = text(&endpoint.node_name);
    if !node.is_empty() {
        names::report(path.child("nodeName"), node, names::dns1123_subdomain(node), errors);
    }
    let host = text(&endpoint.hostname);
    if !host.is_empty() {
        names::report(path.child("hostname"), host, names::dns1123_label(host), errors);
    }
}

fn validate_ports(slice: &EndpointSlice, errors: &mut FieldErrors) {
    let path = FieldPath::new("ports");
    let ports = items(&slice.ports);
    if ports.len() > MAX_PORTS {
        errors.too_many(path.clone(), ports.len(), MAX_PORTS);
    }
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let at = path.index(at);
        let name = text(&port.name);
        if !name.is_empty() {
            names::report(at.child("name"), name, names::dns1123_label(name), errors);
        }
        if !seen.insert(name) {
            errors.duplicate(at.child("name"), name);
        }
        match text(&port.protocol) {
            "" => errors.required(at.child("protocol"), ""),
            "TCP" | "UDP" | "SCTP" => {}
            other => errors.not_supported(at.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
    }
}

/// The resource `endpointslices`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<EndpointSlice>()
}
