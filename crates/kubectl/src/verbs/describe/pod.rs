//! Pods and pod templates.

use super::containers::containers;
use super::volumes::volumes;
use super::writer::{Writer, controller, list, number, or, text, time};
use crate::error::Result;
use crate::session::Session;
use serde_json::Value;

pub(super) async fn describe(session: &Session, pod: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    if !spec["priority"].is_null() {
        out.field(0, "Priority", &text(&spec["priority"]));
    }
    out.field(0, "Priority Class Name", &text(&spec["priorityClassName"]));
    out.field(0, "Runtime Class Name", &text(&spec["runtimeClassName"]));
    out.field(0, "Service Account", &text(&spec["serviceAccountName"]));
    let node = match or(&spec["nodeName"], "") {
        "" => "<none>".to_owned(),
        node => format!("{node}/{}", text(&status["hostIP"])),
    };
    out.field(0, "Node", &node);
    if status["startTime"].is_string() {
        out.field(0, "Start Time", &time(status["startTime"].as_str()));
    }
    out.labels(pod);
    if meta["deletionTimestamp"].is_string() {
        let since = super::writer::age(session, meta["deletionTimestamp"].as_str());
        out.field(0, "Status", &format!("Terminating (lasts {since})"));
        out.field(
            0,
            "Termination Grace Period",
            &format!("{}s", number(&meta["deletionGracePeriodSeconds"])),
        );
    } else {
        out.field(0, "Status", &text(&status["phase"]));
    }
    out.field(0, "Reason", &text(&status["reason"]));
    out.field(0, "Message", &text(&status["message"]));
    if let Some(profile) = spec["securityContext"]["seccompProfile"]["type"].as_str() {
        out.field(0, "SeccompProfile", profile);
    }
    out.line(0, &format!("IP:\t{}", text(&status["podIP"])));
    let addresses = list(&status["podIPs"]);
    if addresses.is_empty() {
        out.line(0, "IPs:\t<none>");
    } else {
        out.line(0, "IPs:");
        for address in addresses {
            out.field(1, "IP", &text(&address["ip"]));
        }
    }
    out.field(0, "Controlled By", &controller(pod));
    containers(
        out,
        0,
        "Init Containers",
        &spec["initContainers"],
        Some(&status["initContainerStatuses"]),
        Some(pod),
    );
    containers(out, 0, "Containers", &spec["containers"], Some(&status["containerStatuses"]), Some(pod));
    containers(
        out,
        0,
        "Ephemeral Containers",
        &spec["ephemeralContainers"],
        Some(&status["ephemeralContainerStatuses"]),
        Some(pod),
    );
    for gate in list(&spec["readinessGates"]).iter().take(1) {
        out.line(0, "Readiness Gates:");
        out.line(1, &text(&gate["conditionType"]));
    }
    let conditions = list(&status["conditions"]);
    if !conditions.is_empty() {
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus");
        for condition in conditions {
            out.line(1, &format!("{} \t{} ", text(&condition["type"]), text(&condition["status"])));
        }
    }
    volumes(out, 0, &spec["volumes"]);
    out.field(0, "QoS Class", &text(&status["qosClass"]));
    placement(out, spec);
    Ok(())
}

fn placement(out: &mut Writer, spec: &Value) {
    out.map(0, "Node-Selectors", &spec["nodeSelector"]);
    tolerations(out, &spec["tolerations"]);
    for (at, spread) in list(&spec["topologySpreadConstraints"]).iter().enumerate() {
        let label = if at == 0 { "Topology Spread Constraints:" } else { "" };
        let (key, when) = (text(&spread["topologyKey"]), text(&spread["whenUnsatisfiable"]));
        let labels = super::writer::selector(&spread["labelSelector"]);
        let skew = number(&spread["maxSkew"]);
        out.line(0, &format!("{label}\t{key}:{when} when max skew {skew} is exceeded for selector {labels}"));
    }
}

fn tolerations(out: &mut Writer, all: &Value) {
    let mut all: Vec<&Value> = list(all).iter().collect();
    if all.is_empty() {
        return out.line(0, "Tolerations:\t<none>");
    }
    all.sort_by_key(|toleration| text(&toleration["key"]));
    for (at, toleration) in all.into_iter().enumerate() {
        let mut line = text(&toleration["key"]);
        let value = text(&toleration["value"]);
        if !value.is_empty() {
            line.push_str(&format!("={value}"));
        }
        let effect = text(&toleration["effect"]);
        if !effect.is_empty() {
            line.push_str(&format!(":{effect}"));
        }
        if toleration["operator"] == "Exists" && value.is_empty() {
            line.push_str(if line.is_empty() { "op=Exists" } else { " op=Exists" });
        }
        if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
            line.push_str(&format!(" for {seconds}s"));
        }
        out.line(0, &format!("{}\t{line}", if at == 0 { "Tolerations:" } else { "" }));
    }
}

/// A pod template, as owners of pods show it.
pub(crate) fn template(template: &Value) -> String {
    let mut out = Writer::default();
    write_template(&mut out, template);
    out.finish()
}

pub(super) fn write_template(out: &mut Writer, template: &Value) {
    out.line(0, "Pod Template:");
    let spec = &template["spec"];
    out.map(1, "Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"].as_object().is_some_and(|map| !map.is_empty()) {
        out.annotations(1, &template["metadata"]["annotations"]);
    }
    out.field(1, "Service Account", &text(&spec["serviceAccountName"]));
    containers(out, 1, "Init Containers", &spec["initContainers"], None, None);
    containers(out, 1, "Containers", &spec["containers"], None, None);
    volumes(out, 1, &spec["volumes"]);
    out.field(1, "Priority Class Name", &text(&spec["priorityClassName"]));
    out.map(1, "Node-Selectors", &spec["nodeSelector"]);
    let mut inner = Writer::default();
    tolerations(&mut inner, &spec["tolerations"]);
    for line in inner.finish().lines() {
        let (label, rest) = line.split_at(line.find(char::is_whitespace).unwrap_or(0));
        out.line(1, &format!("{label}\t{}", rest.trim_start()));
    }
}
