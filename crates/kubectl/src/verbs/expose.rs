//! `expose`: makes a service for the pods of an object.

use super::{Group, Verb, create};
use crate::error::{Result, fail};
use crate::flags::{self, flag, int, number, text, value};
use crate::select::{self, Found};
use crate::session::Session;
use clap::ArgMatches;
use serde_json::{Map, Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "expose",
    group: Group::Basic,
    about: "Make a service for the pods of an object",
    examples: "kubectl expose deployment web --port=80
        kubectl expose pod web --port=80 --target-port=8080 --name=front
        kubectl expose deployment web --type=NodePort --port=80",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(value("selector", "LABELS", "Which pods; those of the object unless given").short('l'))
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-expose"))
            .arg(number("port", "0", "The service's port; the containers' unless given"))
            .arg(value("target-port", "PORT|NAME", "The pods' port"))
            .arg(value("protocol", "PROTOCOL", "TCP, UDP or SCTP"))
            .arg(value("type", "TYPE", "ClusterIP, NodePort, LoadBalancer or ExternalName"))
            .arg(value("name", "NAME", "The service's name"))
            .arg(value("labels", "LABELS", "The service's labels").short('L'))
            .arg(value("cluster-ip", "IP|None", "The service's address"))
            .arg(value("external-ip", "IP", "A further address"))
            .arg(value("load-balancer-ip", "IP", "The load balancer's address"))
            .arg(value("external-name", "NAME", "For ExternalName"))
            .arg(value("session-affinity", "KIND", "None or ClientIP"))
            .arg(flag("save-config", "Keep the manifest in the object"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .arg(flags::args("TYPE NAME | TYPE/NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    // The selector here is the service's, not a way to choose objects.
    let args = flags::positional(matches);
    let found = if args.is_empty() {
        select::live_of(session, matches).await?
    } else {
        vec![select::one(session, &args, "").await?]
    };
    for object in found {
        create::submit_as(session, matches, service(matches, &object)?, "exposed").await?;
    }
    Ok(())
}

/// `a=b,c=d` as a map.
fn map(text: &str) -> Map<String, Value> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

fn selector(matches: &ArgMatches, object: &Found) -> Result<Map<String, Value>> {
    if let Some(given) = text(matches, "selector") {
        return Ok(map(given));
    }
    let spec = &object.value["spec"];
    let labels = match object.resource.kind.as_str() {
        "Pod" => &object.value["metadata"]["labels"],
        "Service" | "ReplicationController" => &spec["selector"],
        "Deployment" | "ReplicaSet" => {
            if spec["selector"]["matchExpressions"].as_array().is_some_and(|all| !all.is_empty()) {
                return fail(format!(
                    "couldn't convert expressions - \"{}\" to map-based selector format",
                    spec["selector"]["matchExpressions"]
                ));
            }
            &spec["selector"]["matchLabels"]
        }
        kind => return fail(format!("cannot expose a {kind}")),
    };
    match labels.as_object().filter(|labels| !labels.is_empty()) {
        Some(labels) => Ok(labels.clone()),
        None => fail(
            "couldn't retrieve selectors via --selector flag or introspection: the object has no labels and cannot be exposed",
        ),
    }
}

/// Ports of the containers behind an object.
fn ports(object: &Found) -> Vec<(i64, String)> {
    let value = &object.value;
    if object.resource.kind == "Service" {
        let all = value["spec"]["ports"].as_array().into_iter().flatten();
        return all.map(|port| (port["port"].as_i64().unwrap_or(0), protocol(&port["protocol"]))).collect();
    }
    let spec =
        if object.resource.kind == "Pod" { &value["spec"] } else { &value["spec"]["template"]["spec"] };
    let containers = spec["containers"].as_array().into_iter().flatten();
    let all = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    all.map(|port| (port["containerPort"].as_i64().unwrap_or(0), protocol(&port["protocol"]))).collect()
}

fn protocol(value: &Value) -> String {
    value.as_str().unwrap_or("TCP").to_owned()
}

fn service(matches: &ArgMatches, object: &Found) -> Result<Value> {
    let wanted = int(matches, "port");
    let target = text(matches, "target-port");
    let target_value = |port: i64| match target {
        Some(text) => text.parse::<u16>().map_or_else(|_| Value::from(text), Value::from),
        None => port.into(),
    };
    let given = text(matches, "protocol");
    let mut list: Vec<Value> = if wanted > 0 {
        vec![json!({"port": wanted, "protocol": given.unwrap_or("TCP"), "targetPort": target_value(wanted)})]
    } else {
        let all = ports(object).into_iter();
        all.map(|(port, own)| json!({"port": port, "protocol": given.unwrap_or(&own), "targetPort": target_value(port)}))
            .collect()
    };
    let headless = text(matches, "cluster-ip") == Some("None");
    if list.is_empty() && !headless && text(matches, "type") != Some("ExternalName") {
        return fail("couldn't find port via --port flag or introspection");
    }
    if list.len() > 1 {
        for (at, port) in list.iter_mut().enumerate() {
            port["name"] = format!("port-{}", at + 1).into();
        }
    }
    let mut spec = json!({"selector": selector(matches, object)?});
    if !list.is_empty() {
        spec["ports"] = list.into();
    }
    for (flag, field) in [
        ("type", "type"),
        ("cluster-ip", "clusterIP"),
        ("load-balancer-ip", "loadBalancerIP"),
        ("external-name", "externalName"),
        ("session-affinity", "sessionAffinity"),
    ] {
        if let Some(value) = text(matches, flag) {
            spec[field] = value.into();
        }
    }
    if let Some(address) = text(matches, "external-ip") {
        spec["externalIPs"] = json!([address]);
    }
    let labels = match text(matches, "labels") {
        Some(given) => Value::Object(map(given)),
        None => object.value["metadata"]["labels"].clone(),
    };
    let mut metadata = json!({"name": text(matches, "name").unwrap_or(&object.name)});
    if labels.is_object() {
        metadata["labels"] = labels;
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}
