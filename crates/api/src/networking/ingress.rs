//! `networking.k8s.io/v1` Ingress.

use crate::common::print::or_none;
use crate::common::{first_generation, items, names, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressSpec, IngressStatus,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};
use std::net::IpAddr;

crate::kind!(Ingress);

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

impl Rules for Ingress {
    fn prepare_create(&mut self) {
        let status = IngressStatus { load_balancer: Some(Default::default()) };
        self.status = Some(status);
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = IngressSpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let balancer = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let path = FieldPath::new("status").child("loadBalancer").child("ingress");
        for (at, entry) in
            balancer.map(|balancer| items(&balancer.ingress)).unwrap_or_default().iter().enumerate()
        {
            let at = path.index(at);
            let ip = text(&entry.ip);
            if !ip.is_empty() {
                crate::common::net::ip(ip, at.child("ip"), errors);
            }
            crate::common::status::host(text(&entry.hostname), &at, errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        const CLASS: &str = "kubernetes.io/ingress.class";
        let has =
            self.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(CLASS));
        if old.is_some() || !has {
            return Vec::new();
        }
        vec![format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Class", "string", "Which controller serves it."),
            Column::new("Hosts", "string", "Hosts of its rules."),
            Column::new("Address", "string", "Where it is served."),
            Column::new("Ports", "string", "Ports on which it is served."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let empty = IngressSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let old_class = self.metadata.annotations.as_ref().and_then(|a| a.get("kubernetes.io/ingress.class"));
        let class = spec.ingress_class_name.as_ref().or(old_class);
        let balancer = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let addresses: Vec<&str> = balancer
            .map(|balancer| items(&balancer.ingress))
            .unwrap_or_default()
            .iter()
            .map(|i| if text(&i.ip).is_empty() { text(&i.hostname) } else { text(&i.ip) })
            .collect();
        let ports = if items(&spec.tls).is_empty() { "80" } else { "80, 443" };
        vec![
            name_cell(self),
            or_none(class.map(String::as_str).unwrap_or_default()),
            json!(hosts(spec)),
            json!(addresses.join(",")),
            json!(ports),
            age_cell(self, now),
        ]
    }
}

fn hosts(spec: &IngressSpec) -> String {
    let all: Vec<String> = items(&spec.rules)
        .iter()
        .map(|rule| text(&rule.host).to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    if all.is_empty() { "*".to_owned() } else { crate::common::print::first_three(&all) }
}

fn validate_spec(spec: &IngressSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let rules = items(&spec.rules);
    match &spec.default_backend {
        Some(backend) => validate_backend(backend, &path.child("defaultBackend"), errors),
        None if rules.is_empty() => {
            errors.invalid(
                path.clone(),
                json!(rules.len()),
                "either `defaultBackend` or `rules` must be specified",
            );
        }
        None => {}
    }
    for (at, rule) in rules.iter().enumerate() {
        let at = path.child("rules").index(at);
        validate_host(text(&rule.host), &at.child("host"), errors);
        let Some(http) = &rule.http else { continue };
        let at = at.child("http").child("paths");
        if http.paths.is_empty() {
            errors.required(at.clone(), "");
        }
        for (index, route) in http.paths.iter().enumerate() {
            validate_path(route, &at.index(index), errors);
        }
    }
    for (at, tls) in items(&spec.tls).iter().enumerate() {
        let at = path.child("tls").index(at);
        for (index, host) in items(&tls.hosts).iter().enumerate() {
            validate_host(host, &at.child("hosts").index(index), errors);
        }
        let secret = text(&tls.secret_name);
        if !secret.is_empty() {
            names::report(at.child("secretName"), secret, names::dns1123_subdomain(secret), errors);
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        names::report(path.child("ingressClassName"), class, names::dns1123_subdomain(class), errors);
    }
}

fn validate_host(host: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if host.is_empty() {
        return;
    }
    if host.parse::<IpAddr>().is_ok() {
        errors.invalid(path.clone(), host, "must be a DNS name, not an IP address");
    }
    let messages = if host.contains('*') {
        names::wildcard_dns1123_subdomain(host)
    } else {
        names::dns1123_subdomain(host)
    };
    names::report(path.clone(), host, messages, errors);
}

fn validate_path(route: &HTTPIngressPath, path: &FieldPath, errors: &mut FieldErrors) {
    const FORBIDDEN: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "\n"];
    let at = path.child("path");
    let value = text(&route.path);
    match route.path_type.as_str() {
        "" => errors.required(path.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                errors.invalid(at.clone(), value, "must be an absolute path");
            }
            for part in FORBIDDEN {
                if value.contains(part) {
                    errors.invalid(at.clone(), value, format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if value.ends_with(end) {
                    errors.invalid(at.clone(), value, format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !value.starts_with('/') {
                errors.invalid(at, value, "must be an absolute path");
            }
        }
        other => errors.not_supported(path.child("pathType"), other, PATH_TYPES),
    }
    validate_backend(&route.backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &IngressBackend, path: &FieldPath, errors: &mut FieldErrors) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => {
            errors.invalid(path.clone(), "", "cannot set both resource and service backends");
        }
        (None, Some(resource)) => {
            if resource.name.is_empty() {
                errors.required(path.child("resource").child("name"), "");
            }
            if resource.kind.is_empty() {
                errors.required(path.child("resource").child("kind"), "");
            }
        }
        (Some(service), None) => {
            let at = path.child("service");
            if service.name.is_empty() {
                errors.required(at.child("name"), "");
            } else {
                names::report(at.child("name"), &service.name, names::dns1035_label(&service.name), errors);
            }
            let (name, number) = service
                .port
                .as_ref()
                .map(|port| (text(&port.name), port.number.unwrap_or_default()))
                .unwrap_or_default();
            match (name, number) {
                ("", 0) => errors.required(path.clone(), "port name or number is required"),
                ("", number) => {
                    for message in names::port_number(i64::from(number)) {
                        errors.invalid(at.child("port").child("number"), number, message);
                    }
                }
                (_, number) if number != 0 => {
                    errors.invalid(path.clone(), "", "cannot set both port name & port number");
                }
                (name, _) => {
                    names::report(at.child("port").child("name"), name, names::port_name(name), errors);
                }
            }
        }
        (None, None) => errors.required(path.clone(), "must specify `service` or `resource`"),
    }
}

/// The resource `ingresses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Ingress>().short(&["ing"]).status()
}
