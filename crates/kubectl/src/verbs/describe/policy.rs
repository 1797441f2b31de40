//! Disruption budgets, autoscalers, priority classes.

use super::writer::{Writer, list, number, selector, text, time};
use crate::error::Result;
use crate::print::labels_text;
use crate::session::Session;
use serde_json::Value;

pub(super) async fn budget(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    for (label, field) in [("Min available", "minAvailable"), ("Max unavailable", "maxUnavailable")] {
        if !spec[field].is_null() {
            out.field(0, label, &text(&spec[field]));
        }
    }
    let selected =
        if spec["selector"].is_object() { selector(&spec["selector"]) } else { "<unset>".to_owned() };
    out.field(0, "Selector", &selected);
    out.line(0, "Status:");
    for (label, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        out.line(2, &format!("{label}:\t{}", number(&status[field])));
    }
    Ok(())
}

pub(super) async fn priority_class(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.line(0, &format!("Value:\t{}", number(&object["value"])));
    out.field(0, "GlobalDefault", if object["globalDefault"] == true { "true" } else { "false" });
    out.field(0, "PreemptionPolicy", &text(&object["preemptionPolicy"]));
    out.line(0, &format!("Description:\t{}", text(&object["description"])));
    out.line(0, &format!("Annotations:\t{}", labels_text(object["metadata"]["annotations"].as_object())));
    Ok(())
}

pub(super) async fn autoscaler(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.head(object);
    out.field(0, "CreationTimestamp", &time(meta["creationTimestamp"].as_str()));
    let target = &spec["scaleTargetRef"];
    out.field(0, "Reference", &format!("{}/{}", text(&target["kind"]), text(&target["name"])));
    out.line(0, "Metrics:\t( current / target )");
    for (at, metric) in list(&spec["metrics"]).iter().enumerate() {
        let current = list(&status["currentMetrics"]).get(at).unwrap_or(&Value::Null);
        out.line(1, &self::metric(metric, current));
    }
    let least = spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |least| least.to_string());
    out.line(0, &format!("Min replicas:\t{least}"));
    out.line(0, &format!("Max replicas:\t{}", number(&spec["maxReplicas"])));
    if spec["behavior"].is_object() {
        out.line(0, "Behavior:");
        for (label, field) in [("Scale Up", "scaleUp"), ("Scale Down", "scaleDown")] {
            behavior(out, label, &spec["behavior"][field]);
        }
    }
    let pods = format!(
        "{} current / {} desired",
        number(&status["currentReplicas"]),
        number(&status["desiredReplicas"])
    );
    out.line(0, &format!("{} pods:\t{pods}", text(&target["kind"])));
    let columns = [("Type", "type"), ("Status", "status"), ("Reason", "reason"), ("Message", "message")];
    out.conditions(object, &columns);
    Ok(())
}

/// What is measured, and `current / target`.
fn metric(metric: &Value, current: &Value) -> String {
    let unknown = |value: &Value| if value.is_null() { "<unknown>".to_owned() } else { text(value) };
    let kind = metric["type"].as_str().unwrap_or_default();
    let field = match kind {
        "Resource" => "resource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => return format!("<unknown metric type {kind:?}>"),
    };
    let (wanted, now) = (&metric[field], &current[field]["current"]);
    let target = &wanted["target"];
    let name = text(&wanted["metric"]["name"]);
    let average = !target["averageValue"].is_null();
    let values = if average {
        format!("{} / {}", unknown(&now["averageValue"]), text(&target["averageValue"]))
    } else {
        format!("{} / {}", unknown(&now["value"]), text(&target["value"]))
    };
    match kind {
        "Pods" => format!("{name:?} on pods:\t{values}"),
        "Object" => {
            let object = &wanted["describedObject"];
            let of = if average { "target average value" } else { "target value" };
            format!("{name:?} on {}/{} ({of}):\t{values}", text(&object["kind"]), text(&object["name"]))
        }
        "External" => {
            let of = if average { "target average value" } else { "target value" };
            format!("{name:?} ({of}):\t{values}")
        }
        _ => {
            let container = text(&wanted["container"]);
            let of =
                if container.is_empty() { String::new() } else { format!(" of container {container:?}") };
            let head = format!("resource {}{of} on pods", text(&wanted["name"]));
            if average {
                return format!("{head}:\t{values}");
            }
            let percent = |value: &Value| value.as_i64().map(|percent| format!("{percent}%"));
            let now_percent = match percent(&now["averageUtilization"]) {
                Some(percent) => format!("{percent} ({})", text(&now["averageValue"])),
                None => "<unknown>".to_owned(),
            };
            let target = percent(&target["averageUtilization"]).unwrap_or_else(|| "<auto>".to_owned());
            format!("{head}  (as a percentage of request):\t{now_percent} / {target}")
        }
    }
}

fn behavior(out: &mut Writer, label: &str, rules: &Value) {
    if !rules.is_object() {
        return;
    }
    out.line(1, &format!("{label}:"));
    if !rules["stabilizationWindowSeconds"].is_null() {
        out.line(
            2,
            &format!("Stabilization Window: {} seconds", number(&rules["stabilizationWindowSeconds"])),
        );
    }
    if list(&rules["policies"]).is_empty() {
        return;
    }
    out.line(2, &format!("Select Policy: {}", super::writer::or(&rules["selectPolicy"], "Max")));
    out.line(2, "Policies:");
    for policy in list(&rules["policies"]) {
        let (value, seconds) = (number(&policy["value"]), number(&policy["periodSeconds"]));
        out.line(3, &format!("- Type: {}\tValue: {value}\tPeriod: {seconds} seconds", text(&policy["type"])));
    }
}
