//! Nodes: what they have, and what runs on them.

use super::writer::{Writer, age, list, or, text, time};
use crate::error::Result;
use crate::session::Session;
use client::http::url::Url;
use machinery::quantity::{Format, Quantity};
use serde_json::Value;

pub(super) async fn describe(session: &Session, node: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    let labels = meta["labels"].as_object();
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    out.field(0, "Roles", &if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
    out.labels(node);
    out.field(0, "CreationTimestamp", &time(meta["creationTimestamp"].as_str()));
    let taints: Vec<String> = list(&spec["taints"])
        .iter()
        .map(|taint| {
            let value = taint["value"].as_str().map(|value| format!("={value}")).unwrap_or_default();
            format!("{}{value}:{}", text(&taint["key"]), text(&taint["effect"]))
        })
        .collect();
    if taints.is_empty() {
        out.line(0, "Taints:\t<none>");
    }
    for (at, taint) in taints.iter().enumerate() {
        out.line(0, &format!("{}\t{taint}", if at == 0 { "Taints:" } else { "" }));
    }
    out.field(0, "Unschedulable", if spec["unschedulable"] == true { "true" } else { "false" });
    lease(session, meta, out).await?;
    let columns = [
        ("Type", "type"),
        ("Status", "status"),
        ("LastHeartbeatTime", "lastHeartbeatTime"),
        ("LastTransitionTime", "lastTransitionTime"),
        ("Reason", "reason"),
        ("Message", "message"),
    ];
    out.conditions(node, &columns);
    out.line(0, "Addresses:");
    for address in list(&status["addresses"]) {
        out.line(1, &format!("{}:\t{}", text(&address["type"]), text(&address["address"])));
    }
    for (label, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        out.line(0, &format!("{label}:"));
        let mut entries: Vec<_> = status[field].as_object().into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| *key);
        for (key, value) in entries {
            out.line(1, &format!("{key}:\t{}", text(value)));
        }
    }
    let info = &status["nodeInfo"];
    out.line(0, "System Info:");
    for (label, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        out.line(1, &format!("{label}:\t{}", text(&info[field])));
    }
    out.field(0, "PodCIDR", &text(&spec["podCIDR"]));
    let ranges: Vec<String> = list(&spec["podCIDRs"]).iter().map(text).collect();
    out.field(0, "PodCIDRs", &ranges.join(","));
    out.field(0, "ProviderID", &text(&spec["providerID"]));
    pods(session, node, out).await
}

async fn lease(session: &Session, meta: &Value, out: &mut Writer) -> Result<()> {
    let resource = session.discovery().await?.find("leases.coordination.k8s.io")?;
    let path = resource.path(Some("kube-node-lease"), meta["name"].as_str());
    let Some(lease) = session.rest().await?.get_opt(&path).await? else {
        out.line(0, "Lease:\tFailed to get lease: not found");
        return Ok(());
    };
    out.line(0, "Lease:");
    out.line(1, &format!("HolderIdentity:\t{}", or(&lease["spec"]["holderIdentity"], "<unset>")));
    for (label, field) in [("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")] {
        out.line(1, &format!("{label}:\t{}", time(lease["spec"][field].as_str())));
    }
    Ok(())
}

/// What a pod asks for: its containers' sum, or its largest init container.
fn demand(pod: &Value, field: &str, resource: &str) -> i64 {
    let milli = |container: &Value| {
        let amount = container["resources"][field][resource].as_str();
        amount.and_then(|text| Quantity::parse(text).ok()).map_or(0, |amount| amount.milli_value())
    };
    let sidecar = |container: &&Value| container["restartPolicy"] == "Always";
    let init = list(&pod["spec"]["initContainers"]);
    let running: i64 = list(&pod["spec"]["containers"]).iter().map(milli).sum::<i64>()
        + init.iter().filter(sidecar).map(milli).sum::<i64>();
    running.max(init.iter().filter(|container| !sidecar(container)).map(milli).max().unwrap_or(0))
}

fn percent(part: i64, whole: &Value) -> i64 {
    let whole =
        whole.as_str().and_then(|text| Quantity::parse(text).ok()).map_or(0, |amount| amount.milli_value());
    if whole == 0 { 0 } else { i64::try_from(i128::from(part) * 100 / i128::from(whole)).unwrap_or(0) }
}

fn shown(milli: i64, resource: &str) -> String {
    let format = if resource == "cpu" { Format::DecimalSi } else { Format::BinarySi };
    Quantity::from_milli(milli, format).to_string()
}

async fn pods(session: &Session, node: &Value, out: &mut Writer) -> Result<()> {
    let resource = session.discovery().await?.find("pods")?;
    let fields = format!("spec.nodeName={}", text(&node["metadata"]["name"]));
    let url = Url::new(resource.path(None, None)).with("fieldSelector", Some(&fields));
    let found = session.rest().await?.get(&url.into_string()).await?;
    let ended = |pod: &&Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    let pods: Vec<&Value> = list(&found["items"]).iter().filter(|pod| !ended(pod)).collect();
    let whole = &node["status"]["allocatable"];
    out.line(0, &format!("Non-terminated Pods:\t({} in total)", pods.len()));
    out.line(1, "Namespace\tName\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    out.line(1, "---------\t----\t------------\t----------\t---------------\t-------------\t---");
    let kinds = [("requests", "cpu"), ("limits", "cpu"), ("requests", "memory"), ("limits", "memory")];
    for pod in &pods {
        let mut cells = vec![text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"])];
        for (field, resource) in kinds {
            let amount = demand(pod, field, resource);
            cells.push(format!("{} ({}%)", shown(amount, resource), percent(amount, &whole[resource])));
        }
        cells.push(age(session, pod["metadata"]["creationTimestamp"].as_str()));
        out.line(1, &cells.join("\t"));
    }
    out.line(0, "Allocated resources:");
    out.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    out.line(1, "Resource\tRequests\tLimits");
    out.line(1, "--------\t--------\t------");
    let standard = ["cpu", "memory", "ephemeral-storage"];
    let mut others: Vec<&str> =
        whole.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    others.retain(|name| !standard.contains(name) && *name != "pods");
    others.sort_by_key(|name| (!name.starts_with("hugepages-"), *name));
    for resource in standard.into_iter().chain(others) {
        let cells: Vec<String> = ["requests", "limits"]
            .iter()
            .map(|field| {
                let amount: i64 = pods.iter().map(|pod| demand(pod, field, resource)).sum();
                if standard.contains(&resource) || resource.starts_with("hugepages-") {
                    format!("{} ({}%)", shown(amount, resource), percent(amount, &whole[resource]))
                } else {
                    Quantity::from_milli(amount, Format::DecimalSi).to_string()
                }
            })
            .collect();
        out.line(1, &format!("{resource}\t{}", cells.join("\t")));
    }
    Ok(())
}
