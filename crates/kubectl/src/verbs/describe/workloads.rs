//! Owners of pods: deployments, replica sets, stateful sets, daemon sets, jobs.

use super::pod::write_template;
use super::writer::{Writer, controller, list, number, or, selector, text, time};
use crate::error::Result;
use crate::pods::label_selector;
use crate::session::Session;
use client::http::url::Url;
use serde_json::Value;

const CONDITIONS: &[(&str, &str)] = &[("Type", "type"), ("Status", "status"), ("Reason", "reason")];

/// Objects of a kind that a selector finds and that `owner` controls.
async fn owned(session: &Session, owner: &Value, kind: &str) -> Result<Vec<Value>> {
    let resource = session.discovery().await?.find(kind)?;
    let labels = label_selector(&owner["spec"]["selector"]).or_else(|| {
        let pairs = owner["spec"]["selector"].as_object()?;
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
        Some(pairs.join(","))
    });
    let path = resource.path(owner["metadata"]["namespace"].as_str(), None);
    let url = Url::new(path).with("labelSelector", labels.as_deref());
    let found = session.rest().await?.get(&url.into_string()).await?;
    let uid = &owner["metadata"]["uid"];
    let mine = |item: &&Value| {
        list(&item["metadata"]["ownerReferences"])
            .iter()
            .any(|by| by["controller"] == true && by["uid"] == *uid)
    };
    Ok(list(&found["items"]).iter().filter(mine).cloned().collect())
}

/// `1 Running / 0 Waiting / 0 Succeeded / 0 Failed`.
async fn pod_status(session: &Session, owner: &Value, out: &mut Writer, label: &str) -> Result<()> {
    let pods = owned(session, owner, "pods").await?;
    let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count();
    out.line(
        0,
        &format!(
            "{label}:\t{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
    Ok(())
}

pub(super) async fn deployment(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    out.field(0, "CreationTimestamp", &time(meta["creationTimestamp"].as_str()));
    out.labels(object);
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.line(
        0,
        &format!(
            "Replicas:\t{} desired | {} updated | {} total | {} available | {} unavailable",
            number(&spec["replicas"]),
            number(&status["updatedReplicas"]),
            number(&status["replicas"]),
            number(&status["availableReplicas"]),
            number(&status["unavailableReplicas"])
        ),
    );
    out.field(0, "StrategyType", &text(&spec["strategy"]["type"]));
    out.line(0, &format!("MinReadySeconds:\t{}", number(&spec["minReadySeconds"])));
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let (most, extra) = (text(&rolling["maxUnavailable"]), text(&rolling["maxSurge"]));
        out.field(0, "RollingUpdateStrategy", &format!("{most} max unavailable, {extra} max surge"));
    }
    write_template(out, &spec["template"]);
    out.conditions(object, CONDITIONS);
    let mut sets = owned(session, object, "replicasets.apps").await?;
    sets.sort_by_key(|set| (text(&set["metadata"]["creationTimestamp"]), text(&set["metadata"]["name"])));
    if sets.is_empty() {
        return Ok(());
    }
    let revision = &meta["annotations"]["deployment.kubernetes.io/revision"];
    let current =
        |set: &&Value| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == *revision;
    let show = |sets: Vec<&Value>| -> String {
        let texts: Vec<String> = sets
            .into_iter()
            .map(|set| {
                let (ready, wanted) = (number(&set["status"]["replicas"]), number(&set["spec"]["replicas"]));
                format!("{} ({ready}/{wanted} replicas created)", text(&set["metadata"]["name"]))
            })
            .collect();
        if texts.is_empty() { "<none>".to_owned() } else { texts.join(", ") }
    };
    out.field(0, "OldReplicaSets", &show(sets.iter().filter(|set| !current(set)).collect()));
    out.field(0, "NewReplicaSet", &show(sets.iter().filter(current).collect()));
    Ok(())
}

pub(super) async fn replica_set(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (spec, status) = (&object["spec"], &object["status"]);
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.field(0, "Namespace", &text(&object["metadata"]["namespace"]));
    let labels = if object["kind"] == "ReplicationController" {
        crate::print::labels_text(spec["selector"].as_object())
    } else {
        selector(&spec["selector"])
    };
    out.field(0, "Selector", &labels);
    out.labels(object);
    out.field(0, "Controlled By", &controller(object));
    out.line(
        0,
        &format!(
            "Replicas:\t{} current / {} desired",
            number(&status["replicas"]),
            number(&spec["replicas"])
        ),
    );
    pod_status(session, object, out, "Pods Status").await?;
    write_template(out, &spec["template"]);
    out.conditions(object, CONDITIONS);
    Ok(())
}

pub(super) async fn stateful_set(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    out.field(0, "CreationTimestamp", &time(meta["creationTimestamp"].as_str()));
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.labels(object);
    out.line(
        0,
        &format!("Replicas:\t{} desired | {} total", number(&spec["replicas"]), number(&status["replicas"])),
    );
    out.field(0, "Update Strategy", &text(&spec["updateStrategy"]["type"]));
    if let Some(partition) = spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64() {
        out.line(1, &format!("Partition:\t{partition}"));
    }
    pod_status(session, object, out, "Pods Status").await?;
    write_template(out, &spec["template"]);
    let claims = list(&spec["volumeClaimTemplates"]);
    if claims.is_empty() {
        out.line(0, "Volume Claims:\t<none>");
        return Ok(());
    }
    out.line(0, "Volume Claims:");
    for claim in claims {
        out.field(1, "Name", &text(&claim["metadata"]["name"]));
        out.line(1, &format!("StorageClass:\t{}", text(&claim["spec"]["storageClassName"])));
        out.map(1, "Labels", &claim["metadata"]["labels"]);
        out.annotations(1, &claim["metadata"]["annotations"]);
        out.line(1, &format!("Capacity:\t{}", text(&claim["spec"]["resources"]["requests"]["storage"])));
        let modes: Vec<String> = list(&claim["spec"]["accessModes"]).iter().map(text).collect();
        out.line(1, &format!("Access Modes:\t[{}]", modes.join(" ")));
    }
    Ok(())
}

pub(super) async fn daemon_set(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    out.field(0, "Selector", &selector(&spec["selector"]));
    let nodes = crate::print::labels_text(spec["template"]["spec"]["nodeSelector"].as_object());
    out.field(0, "Node-Selector", &nodes);
    out.labels(object);
    for (label, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        out.line(0, &format!("{label}: {}", number(&status[field])));
    }
    pod_status(session, object, out, "Pods Status").await?;
    write_template(out, &spec["template"]);
    Ok(())
}

pub(super) async fn job(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    out.field(0, "Name", &text(&meta["name"]));
    out.field(0, "Namespace", &text(&meta["namespace"]));
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.labels(object);
    out.field(0, "Controlled By", &controller(object));
    let or_unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { text(value) };
    out.field(0, "Parallelism", &or_unset(&spec["parallelism"]));
    out.field(0, "Completions", &or_unset(&spec["completions"]));
    out.field(0, "Completion Mode", or(&spec["completionMode"], "NonIndexed"));
    out.field(0, "Suspend", if spec["suspend"] == true { "true" } else { "false" });
    out.field(0, "Backoff Limit", &text(&spec["backoffLimit"]));
    if !spec["ttlSecondsAfterFinished"].is_null() {
        out.field(0, "TTL Seconds After Finished", &text(&spec["ttlSecondsAfterFinished"]));
    }
    for (label, field) in [("Start Time", "startTime"), ("Completed At", "completionTime")] {
        if status[field].is_string() {
            out.field(0, label, &time(status[field].as_str()));
        }
    }
    let seconds =
        |value: &Value| value.as_str().and_then(|at| at.parse::<k8s_openapi::jiff::Timestamp>().ok());
    if let (Some(start), Some(end)) = (seconds(&status["startTime"]), seconds(&status["completionTime"])) {
        out.field(0, "Duration", &api::resource::human_duration(end.as_second() - start.as_second()));
    }
    if !spec["activeDeadlineSeconds"].is_null() {
        out.field(0, "Active Deadline Seconds", &format!("{}s", text(&spec["activeDeadlineSeconds"])));
    }
    let (active, ready) = (number(&status["active"]), number(&status["ready"]));
    let (done, failed) = (number(&status["succeeded"]), number(&status["failed"]));
    out.line(
        0,
        &format!("Pods Statuses:\t{active} Active ({ready} Ready) / {done} Succeeded / {failed} Failed"),
    );
    write_template(out, &spec["template"]);
    let _ = session;
    Ok(())
}
