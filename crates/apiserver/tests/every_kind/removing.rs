//! Deletion: dry run, preconditions, finalizers, collections.

use crate::kind::{Kind, Outcome, expect, has_cause};
use crate::{ensure, for_all};
use api::Verb;
use serde_json::json;

const HELD: &str = "example.com/hold";

async fn deletion(kind: &Kind<'_>) -> Outcome {
    let (server, body) = (kind.server, kind.object(31));
    let path = kind.one(&body);
    ensure!(server.delete(&path).await.code == 404, "something is there already");
    let made = kind.create(&body).await?;
    let dry = server.delete(&format!("{path}?dryRun=All")).await;
    ensure!(dry.code == 200, "a dry run answered {}: {}", dry.code, dry.text());
    ensure!(kind.get(&body).await? == made, "a dry run of delete did something");
    let json_body = [("Content-Type", "application/json")];
    for wrong in [json!({"uid": "f00d"}), json!({"resourceVersion": "1"})] {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": wrong});
        let answer = server.request("DELETE", &path, &json_body, &options.to_string()).await;
        expect(&answer, 409, "a deletion with another precondition")?;
    }
    let patch = json!({"metadata": {"finalizers": [HELD]}});
    expect(&server.patch(&path, "merge", &patch).await, 200, "a finalizer")?;
    let answer = server.delete(&format!("{path}?gracePeriodSeconds=0")).await;
    expect(&answer, 200, "a deletion that waits")?;
    let waiting = kind.get(&body).await?;
    ensure!(waiting["metadata"]["deletionTimestamp"].is_string(), "not being deleted: {waiting}");
    let more = json!({"metadata": {"finalizers": [HELD, "example.com/late"]}});
    let status = expect(&server.patch(&path, "merge", &more).await, 422, "a finalizer that comes too late")?;
    ensure!(has_cause(&status, "metadata.finalizers"), "{status}");
    kind.remove(&body).await?;
    let again = kind.create(&body).await?;
    ensure!(again["metadata"]["uid"] != made["metadata"]["uid"], "the uid came back");
    kind.remove(&body).await
}

#[tokio::test]
async fn every_kind_is_deleted() {
    for_all(deletion).await;
}

async fn collections(kind: &Kind<'_>) -> Outcome {
    let server = kind.server;
    let all = format!("{}?labelSelector=row%3D{}", kind.path, kind.label());
    if !kind.def.verbs.contains(&Verb::DeleteCollection) {
        ensure!(server.delete(&all).await.code == 405, "a collection can be deleted");
        return Ok(());
    }
    let (one, two, mut other) = (kind.object(32), kind.object(33), kind.object(34));
    other["metadata"]["labels"]["row"] = json!("other");
    for body in [&one, &two, &other] {
        kind.create(body).await?;
    }
    let dry = expect(&server.delete(&format!("{all}&dryRun=All")).await, 200, "a dry run")?;
    ensure!(dry["items"].as_array().is_some_and(|items| items.len() == 2), "{dry}");
    ensure!(!kind.is_gone(&one).await, "a dry run of deletecollection did something");
    let deleted =
        expect(&server.delete(&format!("{all}&gracePeriodSeconds=0")).await, 200, "deletecollection")?;
    ensure!(deleted["items"].as_array().is_some_and(|items| items.len() == 2), "{deleted}");
    for body in [&one, &two] {
        if !kind.is_gone(body).await {
            // The server's own controllers may be faster than this.
            let left = kind.get(body).await;
            let is_left = left.is_ok_and(|left| left["metadata"]["deletionTimestamp"].is_null());
            ensure!(!is_left, "one was left out");
            kind.remove(body).await?;
        }
    }
    ensure!(!kind.is_gone(&other).await, "deletecollection takes what is not selected");
    kind.remove(&other).await
}

#[tokio::test]
async fn every_collection_is_deleted() {
    for_all(collections).await;
}
