//! Every stored resource of the table through every verb, in process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use api::transport::{
    DeleteOptions, Deleted, ListOptions, Patch, Target, Transport, WatchEvent, WriteOptions,
};
use api::{ResourceDef, ResourceTable, StoredObject, Verb};
use apiserver::UserInfo;
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::{Server, manifests};

/// An object of the resource, or nothing for computed ones.
fn object(def: &ResourceDef) -> Option<Value> {
    let gvk = &def.gvk;
    let mut object = manifests::minimal(&gvk.group, &gvk.version, &gvk.kind)?;
    object["apiVersion"] = json!(gvk.api_version());
    object["kind"] = json!(gvk.kind);
    object["metadata"] = json!({"name": manifests::name(&gvk.group, &gvk.kind)});
    Some(object)
}

fn settled(definition: &StoredObject) -> bool {
    let value: Value = serde_json::from_slice(&definition.to_json()).unwrap_or_default();
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
    let written = |c: &Value| {
        let any = c["type"] == "Dangling" || c["type"] == "Available";
        any || (c["type"] == "Established" && c["status"] == "True")
    };
    conditions.is_some_and(|all| all.iter().any(written))
}

async fn run(api: &dyn Transport, def: &Arc<ResourceDef>) -> Result<(), String> {
    let Some(body) = object(def) else { return Ok(()) };
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let namespace = if def.namespaced { "default" } else { "" };
    let all = Target::all(def.gvr()).in_namespace(namespace);
    let one = all.clone().named(&name);
    let write = WriteOptions { field_manager: Some("contract".into()), ..WriteOptions::default() };
    let say = |what: &str| {
        let (what, def) = (what.to_owned(), def.clone());
        move |status: machinery::Status| format!("{} {what}: {status}", def.gvr())
    };

    let start = api.list(&all, &ListOptions::default()).await.map_err(say("list"))?.revision;
    let from = ListOptions { resource_version: Some(start.to_string()), ..ListOptions::default() };
    let mut watch = api.watch(&all, &from).await.map_err(say("watch"))?;

    let bytes = |value: &Value| bytes::Bytes::from(value.to_string());
    let mut made = api.create(&all, bytes(&body), &write).await.map_err(say("create"))?;
    let mut seen: Vec<&str> = Vec::new();
    // The server itself writes the status of these; from then on they are still.
    let watched = ["APIService", "CustomResourceDefinition", "FlowSchema"];
    while watched.contains(&def.gvk.kind.as_ref()) && !settled(&made) {
        match tokio::time::timeout(Duration::from_secs(10), watch.next()).await {
            Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                seen.push(if seen.is_empty() { "ADDED" } else { "MODIFIED" });
                made = object;
            }
            other => return Err(format!("{}: the watch answered {other:?}", def.gvr())),
        }
    }
    let again = api.create(&all, bytes(&body), &write).await;
    if !again.as_ref().is_err_and(machinery::Status::is_already_exists) {
        return Err(format!("{}: creating twice answered {again:?}", def.gvr()));
    }
    let got = api.get(&one).await.map_err(say("get"))?;
    if got.to_json() != made.to_json() {
        return Err(format!("{}: get differs from create", def.gvr()));
    }
    // Defaulting is idempotent: writing back what was read changes nothing.
    let same = api.update(&one, got.to_json().into(), &write).await.map_err(say("update"))?;
    if same.revision() != made.revision() {
        let (a, b) = (
            String::from_utf8_lossy(&made.to_json()).into_owned(),
            String::from_utf8_lossy(&same.to_json()).into_owned(),
        );
        return Err(format!("{}: an unchanged update was written: {a} became {b}", def.gvr()));
    }
    let merge = Patch::Merge(bytes(&json!({"metadata": {"labels": {"x": "1"}}})));
    let patched = api.patch(&one, merge, &write).await.map_err(say("merge patch"))?;
    let strategic = Patch::Strategic(bytes(&json!({"metadata": {"labels": {"x": "2"}}})));
    let patched_again = api.patch(&one, strategic, &write).await.map_err(say("strategic merge patch"))?;
    if patched_again.revision() <= patched.revision() {
        return Err(format!("{}: a patch did not change the revision", def.gvr()));
    }
    let stale = api.update(&one, made.to_json().into(), &write).await;
    if !stale.as_ref().is_err_and(machinery::Status::is_conflict) {
        return Err(format!("{}: a stale update answered {stale:?}", def.gvr()));
    }
    let applied = json!({"apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": {"name": name, "annotations": {"contract": "yes"}}});
    let apply = WriteOptions { field_manager: Some("applier".into()), ..WriteOptions::default() };
    let first = api.patch(&one, Patch::Apply(bytes(&applied)), &apply).await.map_err(say("apply"))?;
    let second = api.patch(&one, Patch::Apply(bytes(&applied)), &apply).await.map_err(say("apply again"))?;
    if first.revision() != second.revision() {
        return Err(format!("{}: an apply that changes nothing was written", def.gvr()));
    }
    let selected = ListOptions { label_selector: Some("x=2".into()), ..ListOptions::default() };
    let listed = api.list(&all, &selected).await.map_err(say("list by label"))?;
    if listed.items.len() != 1 {
        return Err(format!("{}: {} objects have the label", def.gvr(), listed.items.len()));
    }
    let delete = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    if let Deleted::Pending(object) = api.delete(&one, &delete).await.map_err(say("delete"))? {
        // Protected by finalizers until a controller looks; the server's own may be faster than this.
        let freed = if def.gvk.kind == "Namespace" {
            let mut freed: Value = serde_json::from_slice(&object.to_json()).map_err(|e| e.to_string())?;
            freed["spec"]["finalizers"] = json!([]);
            api.update(&one.clone().sub("finalize"), bytes(&freed), &write).await
        } else {
            api.patch(&one, Patch::Merge(bytes(&json!({"metadata": {"finalizers": null}}))), &write).await
        };
        match freed {
            Err(status) if !status.is_not_found() => return Err(say("free")(status)),
            _ => {}
        }
    }
    while seen.last() != Some(&"DELETED") {
        let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        match next {
            Ok(Some(Ok(WatchEvent::Added(_)))) => seen.push("ADDED"),
            Ok(Some(Ok(WatchEvent::Modified(_)))) => seen.push("MODIFIED"),
            Ok(Some(Ok(WatchEvent::Deleted(_)))) => seen.push("DELETED"),
            Ok(Some(Ok(WatchEvent::Bookmark { .. }))) => {}
            other => return Err(format!("{}: the watch answered {other:?} after {seen:?}", def.gvr())),
        }
    }
    if seen.first() != Some(&"ADDED") || seen.len() < 4 {
        return Err(format!("{}: the watch saw {seen:?}", def.gvr()));
    }
    Ok(())
}

#[tokio::test]
async fn every_resource_keeps_the_contract() {
    let server = Server::start().await;
    let api = server.api.transport(UserInfo::new("contract", &["system:masters", "system:authenticated"]));
    let mut failures = Vec::new();
    let mut tried = 0;
    for def in ResourceTable::shared().rows().iter().filter(|def| def.verbs.contains(&Verb::Watch)) {
        assert!(object(def).is_some(), "{} has no manifest", def.gvr());
        tried += 1;
        if let Err(failure) = run(api.as_ref(), def).await {
            failures.push(failure);
        }
    }
    assert!(tried > 50, "{tried}");
    assert!(failures.is_empty(), "{} of {tried}:\n{}", failures.len(), failures.join("\n"));
    server.stop().await;
}
