//! `create service` and `create ingress`.

use super::{Build, Kind, name, required};
use crate::error::{Result, fail, message};
use crate::flags::{self, int, list, number, split, text, value, words};
use clap::ArgMatches;
use serde_json::{Value, json};

const fn kind(name: &'static str, about: &'static str, build: fn(&ArgMatches) -> Result<Value>) -> Kind {
    Kind {
        name,
        alias: "",
        about,
        arguments: |command| {
            command
                .arg(list("tcp", "PORT:TARGET", "A port and the pods' port behind it; may be repeated"))
                .arg(value("clusterip", "IP|None", "The address; None for a headless service"))
                .arg(number("node-port", "0", "The nodes' port"))
                .arg(value("external-name", "NAME", "The name that stands behind an ExternalName service"))
                .arg(flags::args("NAME"))
        },
        build: Build::Pure(build),
        below: &[],
    }
}

pub(super) const SERVICE: Kind = Kind {
    name: "service",
    alias: "svc",
    about: "Create a service",
    arguments: |command| command,
    build: Build::Pure(|_| fail("service needs one of clusterip, nodeport, loadbalancer, externalname")),
    below: &[
        kind("clusterip", "Create a service inside the cluster", |matches| service(matches, "ClusterIP")),
        kind("nodeport", "Create a service on a port of every node", |matches| service(matches, "NodePort")),
        kind("loadbalancer", "Create a service behind a load balancer", |matches| {
            service(matches, "LoadBalancer")
        }),
        kind("externalname", "Create a service that is another name", |matches| {
            service(matches, "ExternalName")
        }),
    ],
};

fn service(matches: &ArgMatches, kind: &str) -> Result<Value> {
    let name = name(matches)?;
    let labels = json!({"app": name});
    let mut ports = Vec::new();
    for pair in split(matches, "tcp") {
        let (port, target) = pair.split_once(':').unwrap_or((&pair, &pair));
        let number: u16 = port.parse().map_err(|_| message(format!("invalid port value {port:?}")))?;
        let target = target.parse::<u16>().map_or_else(|_| Value::from(target), Value::from);
        let mut entry =
            json!({"name": pair.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target});
        if int(matches, "node-port") > 0 {
            entry["nodePort"] = int(matches, "node-port").into();
        }
        ports.push(entry);
    }
    let mut spec = json!({"selector": labels, "type": kind});
    let cluster_ip = text(matches, "clusterip");
    if kind == "ExternalName" {
        spec["externalName"] = required(matches, "external-name")?.into();
    } else if ports.is_empty() && cluster_ip != Some("None") {
        return fail("at least one tcp port specifier must be provided");
    }
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    if let Some(address) = cluster_ip {
        spec["clusterIP"] = address.into();
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"loadBalancer": {}},
    }))
}

pub(super) const INGRESS: Kind = Kind {
    name: "ingress",
    alias: "ing",
    about: "Create an ingress",
    arguments: |command| {
        command
            .arg(list("rule", "HOST/PATH=SERVICE:PORT[,tls[=SECRET]]", "A rule; may be repeated"))
            .arg(value("class", "NAME", "The ingress class"))
            .arg(value("default-backend", "SERVICE:PORT", "What answers everything else"))
            .arg(flags::args("NAME"))
    },
    build: Build::Pure(ingress),
    below: &[],
};

fn backend(text: &str) -> Result<Value> {
    let Some((service, port)) = text.split_once(':') else {
        return fail(format!("{text:?} is not a backend: write SERVICE:PORT"));
    };
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    Ok(json!({"service": {"name": service, "port": port}}))
}

fn ingress(matches: &ArgMatches) -> Result<Value> {
    let (mut rules, mut tls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for rule in words(matches, "rule") {
        let bad = || {
            message(format!(
                "rule {rule:?} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            ))
        };
        let (place, rest) = rule.split_once('=').ok_or_else(bad)?;
        let (host, path) = place.split_once('/').ok_or_else(bad)?;
        let (target, secret) = rest.split_once(',').map_or((rest, None), |(target, tls)| (target, Some(tls)));
        let (path, kind) = path.strip_suffix('*').map_or((path, "Exact"), |path| (path, "Prefix"));
        let path = json!({"path": format!("/{path}"), "pathType": kind, "backend": backend(target)?});
        match rules.iter_mut().find(|known| known["host"].as_str().unwrap_or_default() == host) {
            Some(known) => {
                known["http"]["paths"].as_array_mut().into_iter().for_each(|paths| paths.push(path.clone()))
            }
            None if host.is_empty() => rules.push(json!({"http": {"paths": [path]}})),
            None => rules.push(json!({"host": host, "http": {"paths": [path]}})),
        }
        if let Some(secret) = secret.and_then(|tls| tls.strip_prefix("tls")) {
            let mut entry = json!({"hosts": [host]});
            if let Some(name) = secret.strip_prefix('=') {
                entry["secretName"] = name.into();
            }
            tls.push(entry);
        }
    }
    let mut spec = json!({});
    if !rules.is_empty() {
        spec["rules"] = rules.into();
    }
    if !tls.is_empty() {
        spec["tls"] = tls.into();
    }
    if let Some(class) = text(matches, "class") {
        spec["ingressClassName"] = class.into();
    }
    if let Some(default) = text(matches, "default-backend") {
        spec["defaultBackend"] = backend(default)?;
    }
    if spec["rules"].is_null() && spec["defaultBackend"].is_null() {
        return fail(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        );
    }
    Ok(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name(matches)?}, "spec": spec,
        "status": {"loadBalancer": {}},
    }))
}
