//! Ingresses and their classes, network policies, endpoints.

use super::service::{endpoints, slices};
use super::writer::{Writer, list, number, or, selector, text};
use crate::error::Result;
use crate::session::Session;
use serde_json::{Value, json};

/// What stands behind a path: `web:80 (10.0.0.1:8080)`.
async fn backend(session: &Session, namespace: &Value, backend: &Value) -> Result<String> {
    if backend["resource"].is_object() {
        let resource = &backend["resource"];
        let (group, kind) = (or(&resource["apiGroup"], "<none>"), text(&resource["kind"]));
        return Ok(format!("APIGroup: {group}, Kind: {kind}, Name: {}", text(&resource["name"])));
    }
    let name = text(&backend["service"]["name"]);
    let wanted = &backend["service"]["port"];
    let shown = if wanted["name"].is_string() { text(&wanted["name"]) } else { text(&wanted["number"]) };
    let path = session.discovery().await?.find("services")?.path(namespace.as_str(), Some(&name));
    let service = match session.rest().await?.get(&path).await {
        Ok(service) => service,
        Err(error) => {
            let why = error.status().map_or_else(|| error.text(), |status| status.message.clone());
            return Ok(format!("{name}:{shown} (<error: {why}>)"));
        }
    };
    let mut ports = list(&service["spec"]["ports"]).iter();
    let port = ports.find(|port| match wanted["name"].as_str() {
        Some(name) => port["name"] == name,
        None => port["port"] == wanted["number"],
    });
    let slices = slices(session, &service["metadata"]).await?;
    let port_name = port.map_or(Value::Null, |port| port["name"].clone());
    let found = if port.is_some() { endpoints(&slices, &port_name) } else { String::new() };
    Ok(format!("{name}:{shown} ({found})"))
}

pub(super) async fn ingress(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec) = (&object["metadata"], &object["spec"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.map(0, "Labels", &meta["labels"]);
    out.field(0, "Namespace", &text(&meta["namespace"]));
    let points: Vec<&str> = list(&object["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|point| or(&point["ip"], or(&point["hostname"], "")))
        .collect();
    out.line(0, &format!("Address:\t{}", points.join(",")));
    out.line(0, &format!("Ingress Class:\t{}", or(&spec["ingressClassName"], "<none>")));
    let default = if spec["defaultBackend"].is_object() {
        backend(session, &meta["namespace"], &spec["defaultBackend"]).await?
    } else {
        "<default>".to_owned()
    };
    out.line(0, &format!("Default backend:\t{default}"));
    if !list(&spec["tls"]).is_empty() {
        out.line(0, "TLS:");
        for tls in list(&spec["tls"]) {
            let hosts: Vec<String> = list(&tls["hosts"]).iter().map(text).collect();
            match tls["secretName"].as_str() {
                Some(secret) => out.line(1, &format!("{secret} terminates {}", hosts.join(","))),
                None => out.line(1, &format!("SNI routes {}", hosts.join(","))),
            }
        }
    }
    out.line(0, "Rules:");
    out.line(1, "Host\tPath\tBackends");
    out.line(1, "----\t----\t--------");
    for rule in list(&spec["rules"]) {
        out.line(1, &format!("{} \t", or(&rule["host"], "*")));
        for path in list(&rule["http"]["paths"]) {
            let behind = backend(session, &meta["namespace"], &path["backend"]).await?;
            out.line(2, &format!("\t{} \t{behind}", text(&path["path"])));
        }
    }
    if list(&spec["rules"]).is_empty() {
        out.line(1, &format!("*\t*\t{default}"));
    }
    out.annotations(0, &meta["annotations"]);
    Ok(())
}

pub(super) async fn ingress_class(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.head(object);
    out.line(0, &format!("Controller:\t{}", text(&object["spec"]["controller"])));
    let parameters = &object["spec"]["parameters"];
    if parameters.is_object() {
        out.line(0, "Parameters:");
        for (label, field) in [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")] {
            out.field(1, label, &text(&parameters[field]));
        }
    }
    Ok(())
}

pub(super) async fn policy(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec) = (&object["metadata"], &object["spec"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    let made = text(&meta["creationTimestamp"]).replace('T', " ").replace('Z', " +0000 UTC");
    out.field(0, "Created on", &made);
    out.labels(object);
    out.line(0, "Spec:");
    let pods = match selector(&spec["podSelector"]).as_str() {
        "<none>" => "<none> (Allowing the specific traffic to all pods in this namespace)".to_owned(),
        some => some.to_owned(),
    };
    out.line(1, &format!("PodSelector:     {pods}"));
    let types: Vec<String> = list(&spec["policyTypes"]).iter().map(text).collect();
    for (kind, word, field, peers, way) in
        [("Ingress", "ingress", "ingress", "from", "From"), ("Egress", "egress", "egress", "to", "To")]
    {
        if types.iter().any(|known| known == kind) {
            out.line(1, &format!("Allowing {word} traffic:"));
            rules(out, &spec[field], word, peers, way);
        } else {
            out.line(1, &format!("Not affecting {word} traffic"));
        }
    }
    out.line(1, &format!("Policy Types: {}", types.join(", ")));
    Ok(())
}

fn rules(out: &mut Writer, rules: &Value, word: &str, peers: &str, way: &str) {
    let all = list(rules);
    if all.is_empty() {
        return out.line(2, &format!("<none> (Selected pods are isolated for {word} connectivity)"));
    }
    for (at, rule) in all.iter().enumerate() {
        if list(&rule["ports"]).is_empty() {
            out.line(2, "To Port: <any> (traffic allowed to all ports)");
        }
        for port in list(&rule["ports"]) {
            let protocol = or(&port["protocol"], "TCP");
            if port["endPort"].is_null() {
                out.line(2, &format!("To Port: {}/{protocol}", text(&port["port"])));
            } else {
                out.line(
                    2,
                    &format!(
                        "To Port Range: {}-{}/{protocol}",
                        text(&port["port"]),
                        number(&port["endPort"])
                    ),
                );
            }
        }
        if list(&rule[peers]).is_empty() {
            let end = if way == "From" { "source" } else { "destination" };
            out.line(2, &format!("{way}: <any> (traffic not restricted by {end})"));
        }
        for peer in list(&rule[peers]) {
            out.line(2, &format!("{way}:"));
            for (label, field) in [("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")]
            {
                if peer[field].is_object() {
                    out.line(3, &format!("{label}: {}", selector(&peer[field])));
                }
            }
            if peer["ipBlock"].is_object() {
                out.line(3, "IPBlock:");
                out.line(4, &format!("CIDR: {}", text(&peer["ipBlock"]["cidr"])));
                let except: Vec<String> = list(&peer["ipBlock"]["except"]).iter().map(text).collect();
                out.line(4, &format!("Except: {}", except.join(", ")));
            }
        }
        if at + 1 < all.len() {
            out.line(2, "----------");
        }
    }
}

pub(super) async fn old_endpoints(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.head(object);
    out.line(0, "Subsets:");
    for subset in list(&object["subsets"]) {
        for (label, field) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
            let all: Vec<String> = list(&subset[field]).iter().map(|address| text(&address["ip"])).collect();
            let all = if all.is_empty() { "<none>".to_owned() } else { all.join(",") };
            out.line(1, &format!("{label}:\t{all}"));
        }
        if !list(&subset["ports"]).is_empty() {
            out.line(1, "Ports:");
            out.line(2, "Name\tPort\tProtocol");
            out.line(2, "----\t----\t--------");
            for port in list(&subset["ports"]) {
                let name = or(&port["name"], "<unset>");
                out.line(2, &format!("{name}\t{}\t{}", number(&port["port"]), text(&port["protocol"])));
            }
        }
        out.line(0, "");
    }
    Ok(())
}

pub(super) async fn slice(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.head(object);
    out.field(0, "AddressType", &text(&object["addressType"]));
    if list(&object["ports"]).is_empty() {
        out.line(0, "Ports: <unset>");
    } else {
        out.line(0, "Ports:");
        out.line(1, "Name\tPort\tProtocol");
        out.line(1, "----\t----\t--------");
        for port in list(&object["ports"]) {
            let name = or(&port["name"], "<unset>");
            out.line(1, &format!("{name}\t{}\t{}", text(&port["port"]), or(&port["protocol"], "<unset>")));
        }
    }
    if list(&object["endpoints"]).is_empty() {
        out.line(0, "Endpoints: <none>");
        return Ok(());
    }
    out.line(0, "Endpoints:");
    for endpoint in list(&object["endpoints"]) {
        let addresses: Vec<String> = list(&endpoint["addresses"]).iter().map(text).collect();
        let addresses = if addresses.is_empty() { "<none>".to_owned() } else { addresses.join(", ") };
        out.line(1, &format!("- Addresses:\t{addresses}"));
        out.line(2, "Conditions:");
        let ready = endpoint["conditions"]["ready"]
            .as_bool()
            .map_or_else(|| "<unset>".to_owned(), |ready| ready.to_string());
        out.line(3, &format!("Ready:\t{ready}"));
        out.line(2, &format!("Hostname:\t{}", or(&endpoint["hostname"], "<unset>")));
        let target = &endpoint["targetRef"];
        if target.is_object() {
            out.line(2, &format!("TargetRef:\t{}/{}", text(&target["kind"]), text(&target["name"])));
        }
        for (label, field) in [("NodeName", "nodeName"), ("Zone", "zone")] {
            out.line(2, &format!("{label}:\t{}", or(&endpoint[field], "<unset>")));
        }
        if endpoint["deprecatedTopology"] != json!(null) {
            out.map(2, "Topology", &endpoint["deprecatedTopology"]);
        }
    }
    Ok(())
}
