//! `networking.k8s.io/v1` NetworkPolicy.

use crate::common::pod::handlers;
use crate::common::{
    default_text, first_generation, items, json as printed, names, net, next_generation, selector, text,
};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(NetworkPolicy);

impl Rules for NetworkPolicy {
    fn set_defaults(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        crate::common::default(&mut spec.pod_selector, Default::default());
        let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut().flatten());
        let egress = spec.egress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut().flatten());
        for port in ingress.chain(egress) {
            default_text(&mut port.protocol, "TCP");
        }
        if items(&spec.policy_types).is_empty() {
            let mut types = vec!["Ingress".to_owned()];
            if !items(&spec.egress).is_empty() {
                types.push("Egress".to_owned());
            }
            spec.policy_types = Some(types);
        }
    }

    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = NetworkPolicySpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("Pod-Selector", "string", "Which pods it is about."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let pods = self.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        vec![name_cell(self), json!(selector::display(pods)), age_cell(self, now)]
    }
}

fn validate_spec(spec: &NetworkPolicySpec, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(pods) = &spec.pod_selector {
        selector::validate(pods, &path.child("podSelector"), errors);
    }
    for (at, rule) in items(&spec.ingress).iter().enumerate() {
        let at = path.child("ingress").index(at);
        ports(items(&rule.ports), &at.child("ports"), errors);
        peers(items(&rule.from), &at.child("from"), errors);
    }
    for (at, rule) in items(&spec.egress).iter().enumerate() {
        let at = path.child("egress").index(at);
        ports(items(&rule.ports), &at.child("ports"), errors);
        peers(items(&rule.to), &at.child("to"), errors);
    }
    let types = items(&spec.policy_types);
    if types.len() > 2 {
        errors.invalid(
            path.child("policyTypes"),
            printed::list(types),
            "may not specify more than two policyTypes",
        );
        return;
    }
    for (at, kind) in types.iter().enumerate() {
        if !["Egress", "Ingress"].contains(&kind.as_str()) {
            errors.not_supported(path.child("policyTypes").index(at), kind, &["Egress", "Ingress"]);
        }
    }
}

fn ports(ports: &[NetworkPolicyPort], path: &FieldPath, errors: &mut FieldErrors) {
    for (at, port) in ports.iter().enumerate() {
        let at = path.index(at);
        let protocol = text(&port.protocol);
        if !["SCTP", "TCP", "UDP"].contains(&protocol) {
            errors.not_supported(at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        }
        if let Some(number) = &port.port {
            handlers::port(number, &at.child("port"), errors);
        }
        let Some(end) = port.end_port else { continue };
        match &port.port {
            None => errors.required(at.child("port"), "must be specified when `endPort` is set"),
            Some(IntOrString::String(_)) => {
                errors.required(at.child("port"), "`endPort` is only allowed when `port` is numeric");
            }
            Some(IntOrString::Int(first)) if end < *first => {
                errors.invalid(at.child("endPort"), end, "must be greater than or equal to `port`");
            }
            Some(IntOrString::Int(_)) => {
                for message in names::port_number(i64::from(end)) {
                    errors.invalid(at.child("endPort"), end, message);
                }
            }
        }
    }
}

fn peers(peers: &[NetworkPolicyPeer], path: &FieldPath, errors: &mut FieldErrors) {
    for (at, peer) in peers.iter().enumerate() {
        let at = path.index(at);
        let mut count = 0;
        for (field, labels) in
            [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)]
        {
            if let Some(labels) = labels {
                count += 1;
                selector::validate(labels, &at.child(field), errors);
            }
        }
        match (&peer.ip_block, count) {
            (Some(_), 1..) => {
                errors.forbidden(at, "may not specify both ipBlock and another peer");
            }
            (Some(block), _) => ip_block(block, &at.child("ipBlock"), errors),
            (None, 0) => errors.required(at, "must specify a peer"),
            (None, _) => {}
        }
    }
}

fn ip_block(block: &IPBlock, path: &FieldPath, errors: &mut FieldErrors) {
    if block.cidr.is_empty() {
        errors.required(path.child("cidr"), "");
        return;
    }
    net::cidr(&block.cidr, path.child("cidr"), errors);
    let Some(network) = net::parse_cidr(&block.cidr) else { return };
    for (at, except) in items(&block.except).iter().enumerate() {
        let at = path.child("except").index(at);
        match net::parse_cidr(except) {
            None => errors.invalid(at, except, net::NOT_A_CIDR),
            Some((base, length)) if !net::contains(network, base) || length <= network.1 => {
                errors.invalid(at, except, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

/// The resource `networkpolicies`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<NetworkPolicy>().short(&["netpol"])
}
