//! Resource quotas and limit ranges, on their own and as part of their namespace.

use super::writer::{Writer, list, text};
use crate::error::Result;
use crate::session::Session;
use serde_json::Value;

/// What a scope of a quota means.
fn scope(name: &str) -> &'static str {
    match name {
        "Terminating" => {
            "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively \
             terminated by the system."
        }
        "NotTerminating" => {
            "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container \
             command is not expected to terminate."
        }
        "BestEffort" => {
            "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service."
        }
        "NotBestEffort" => {
            "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality \
             of service."
        }
        _ => "",
    }
}

/// Scopes, and what is used of what. `margin` stands before lines.
fn usage(out: &mut Writer, margin: &str, explained: &str, rule: &str, quota: &Value) {
    let mut scopes: Vec<String> = list(&quota["spec"]["scopes"]).iter().map(text).collect();
    scopes.sort();
    if !scopes.is_empty() {
        out.line(0, &format!("{margin}Scopes:\t{}", scopes.join(", ")));
        for words in scopes.iter().map(|name| scope(name)).filter(|words| !words.is_empty()) {
            out.line(0, &format!("{explained}* {words}"));
        }
    }
    out.line(0, &format!("{margin}Resource\tUsed\tHard"));
    out.line(0, &format!("{margin}--------\t{rule}\t{rule}"));
    let mut hard: Vec<(&String, &Value)> =
        quota["status"]["hard"].as_object().into_iter().flatten().collect();
    hard.sort_by_key(|(resource, _)| *resource);
    for (resource, hard) in hard {
        let used = text(&quota["status"]["used"][resource.as_str()]);
        out.line(0, &format!("{margin}{resource}\t{used}\t{}", text(hard)));
    }
}

pub(super) async fn quota(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.field(0, "Namespace", &text(&object["metadata"]["namespace"]));
    usage(out, "", " ", "----", object);
    Ok(())
}

pub(super) fn of_namespace(out: &mut Writer, quotas: &[Value]) {
    if quotas.is_empty() {
        out.line(0, "");
        return out.line(0, "No resource quota.");
    }
    out.line(0, "");
    out.line(0, "Resource Quotas");
    for quota in quotas {
        out.line(1, &format!("Name:\t{}", text(&quota["metadata"]["name"])));
        usage(out, "  ", "  ", "---", quota);
    }
}

fn limits(out: &mut Writer, margin: &str, range: &Value) {
    for limit in list(&range["spec"]["limits"]) {
        let fields = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
        let maps = fields.iter().filter_map(|field| limit[*field].as_object());
        let mut resources: Vec<&String> = maps.flat_map(|map| map.keys()).collect();
        resources.sort();
        resources.dedup();
        for resource in resources {
            let cells = fields.map(|field| {
                let value = &limit[field][resource.as_str()];
                if value.is_null() { "-".to_owned() } else { text(value) }
            });
            out.line(0, &format!("{margin}{}\t{resource}\t{}", text(&limit["type"]), cells.join("\t")));
        }
    }
}

const HEADERS: [&str; 2] = [
    "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio",
    "----\t--------\t---\t---\t---------------\t-------------\t-----------------------",
];

pub(super) async fn limit_range(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.field(0, "Namespace", &text(&object["metadata"]["namespace"]));
    HEADERS.iter().for_each(|line| out.line(0, line));
    limits(out, "", object);
    Ok(())
}

pub(super) fn ranges_of_namespace(out: &mut Writer, ranges: &[Value]) {
    out.line(0, "");
    if ranges.is_empty() {
        return out.line(0, "No LimitRange resource.");
    }
    out.line(0, "Resource Limits");
    HEADERS.iter().for_each(|line| out.line(0, &format!(" {line}")));
    ranges.iter().for_each(|range| limits(out, " ", range));
}
