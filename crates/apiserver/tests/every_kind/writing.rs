//! Changes: PUT and its conflicts, every type of patch, ownership, what belongs to `status` and what does not.

use crate::kind::{Kind, Outcome, expect, has_cause};
use crate::{ensure, fill, for_all};
use api::schema::{self, Type};
use serde_json::{Value, json};

async fn updates(kind: &Kind<'_>) -> Outcome {
    let (server, body) = (kind.server, kind.object(11));
    let path = kind.one(&body);
    let missing = server.put(&path, &body).await;
    ensure!(matches!(missing.code, 404 | 201 | 422), "an update of nothing answered {}", missing.code);
    if missing.code == 201 {
        kind.remove(&body).await?;
    }
    let made = kind.create(&body).await?;
    let mut changed = made.clone();
    changed["metadata"]["labels"]["x"] = json!("1");
    let dry = expect(&server.put(&format!("{path}?dryRun=All"), &changed).await, 200, "a dry run of update")?;
    ensure!(dry["metadata"]["labels"]["x"] == "1", "{dry}");
    ensure!(kind.get(&body).await? == made, "a dry run of update was stored");
    let updated = expect(&server.put(&path, &changed).await, 200, "update")?;
    ensure!(
        updated["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"],
        "the version stayed"
    );
    let stale = expect(&server.put(&path, &changed).await, 409, "a stale update")?;
    ensure!(stale["reason"] == "Conflict", "{stale}");
    let text = stale["message"].as_str().unwrap_or_default();
    ensure!(
        text.contains("the object has been modified; please apply your changes to the latest version"),
        "{text}"
    );
    let mut other = updated.clone();
    other["metadata"]["name"] = json!("other");
    expect(&server.put(&path, &other).await, 400, "an update of another name")?;
    let mut other = updated.clone();
    other["metadata"]["uid"] = json!("f00df00d-0000-4000-8000-000000000000");
    expect(&server.put(&path, &other).await, 409, "an update of another uid")?;
    let mut blind = updated.clone();
    blind["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    blind["metadata"]["labels"]["x"] = json!("2");
    let answer = server.put(&path, &blind).await;
    ensure!(matches!(answer.code, 200 | 422), "an update without version answered {}", answer.code);
    if answer.code == 422 {
        ensure!(has_cause(&answer.json(), "metadata.resourceVersion"), "{}", answer.text());
    }
    kind.remove(&body).await
}

#[tokio::test]
async fn every_kind_is_updated() {
    for_all(updates).await;
}

async fn patches(kind: &Kind<'_>) -> Outcome {
    let (server, body) = (kind.server, kind.object(12));
    let path = kind.one(&body);
    expect(&server.patch(&path, "merge", &json!({})).await, 404, "a patch of nothing")?;
    kind.create(&body).await?;
    let label = |value: &str| json!({"metadata": {"labels": {"p": value}}});
    let operations = json!([{"op": "add", "path": "/metadata/labels/p", "value": "json"}]);
    for (how, patch, value) in [
        ("json", operations, "json"),
        ("merge", label("merge"), "merge"),
        ("strategic-merge", label("strategic"), "strategic"),
    ] {
        let dry = expect(&server.patch(&format!("{path}?dryRun=All"), how, &patch).await, 200, how)?;
        ensure!(dry["metadata"]["labels"]["p"] == value, "a dry run of {how} made {dry}");
        ensure!(kind.get(&body).await?["metadata"]["labels"]["p"] != value, "a dry run of {how} was stored");
        let done = expect(&server.patch(&path, how, &patch).await, 200, how)?;
        ensure!(done["metadata"]["labels"]["p"] == value, "{how} made {done}");
        let again = expect(&server.patch(&path, how, &patch).await, 200, how)?;
        ensure!(
            again["metadata"]["resourceVersion"] == done["metadata"]["resourceVersion"],
            "{how} twice wrote"
        );
    }
    let test = json!([{"op": "test", "path": "/metadata/labels/p", "value": "no"}]);
    expect(&server.patch(&path, "json", &test).await, 422, "a failing test")?;
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"p": "stale"}}});
    expect(&server.patch(&path, "merge", &stale).await, 409, "a patch of another version")?;
    let unknown = json!({"noSuchField": 1});
    expect(
        &server.patch(&format!("{path}?fieldValidation=Strict"), "merge", &unknown).await,
        422,
        "a strict patch",
    )
    .or_else(|why| if why.contains("400") { Ok(json!({})) } else { Err(why) })?;
    let content = [("Content-Type", "application/x-patch")];
    ensure!(server.request("PATCH", &path, &content, "{}").await.code == 415, "any patch type is taken");
    kind.remove(&body).await
}

#[tokio::test]
async fn every_kind_is_patched() {
    for_all(patches).await;
}

async fn application(kind: &Kind<'_>) -> Outcome {
    let (server, body) = (kind.server, kind.object(13));
    let path = kind.one(&body);
    expect(&server.patch(&path, "apply", &body).await, 422, "an apply without manager")?;
    let made =
        expect(&server.patch(&format!("{path}?fieldManager=one"), "apply", &body).await, 201, "apply")?;
    ensure!(made["metadata"]["managedFields"][0]["operation"] == "Apply", "{made}");
    if kind.written_condition().is_none() {
        let answer = server.patch(&format!("{path}?fieldManager=one"), "apply", &body).await;
        let again = expect(&answer, 200, "apply again")?;
        ensure!(
            again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"],
            "apply twice wrote"
        );
    }
    let theirs = json!({"apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": {"name": body["metadata"]["name"], "labels": {"row": "theirs"}}});
    let two = format!("{path}?fieldManager=two");
    let conflict = expect(&server.patch(&two, "apply", &theirs).await, 409, "a conflicting apply")?;
    ensure!(has_cause(&conflict, ".metadata.labels.row"), "{conflict}");
    let forced = server.patch(&format!("{two}&force=true"), "apply", &theirs).await;
    let forced = expect(&forced, 200, "a forced apply")?;
    ensure!(forced["metadata"]["labels"]["row"] == "theirs", "{forced}");
    // What its only owner leaves out goes.
    let nothing = json!({"apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": {"name": body["metadata"]["name"]}});
    let left = expect(&server.patch(&two, "apply", &nothing).await, 200, "an apply of nothing")?;
    ensure!(left["metadata"]["labels"]["row"].is_null(), "the label has no owner and stays: {left}");
    kind.remove(&body).await
}

#[tokio::test]
async fn every_kind_is_applied() {
    for_all(application).await;
}

/// The object with something in its status that `/status` takes.
async fn with_status(kind: &Kind<'_>, made: &Value) -> Option<Value> {
    let ty = schema::lookup(&kind.def.gvk)?;
    let Type::Struct { id, .. } = ty.field("status")?.node.ty() else { return None };
    let path = format!("{}/status?dryRun=All", kind.one(made));
    for field in id.fields() {
        for value in fill::values(field) {
            let mut changed = made.clone();
            changed["status"][field.name] = value;
            let answer = kind.server.put(&path, &changed).await;
            if answer.code == 200 && answer.json()["status"] != made["status"] {
                return Some(answer.json());
            }
        }
    }
    None
}

async fn isolation(kind: &Kind<'_>) -> Outcome {
    if !kind.def.has_subresource("status") {
        return Ok(());
    }
    let (server, body) = (kind.server, kind.object(14));
    let made = kind.create(&body).await?;
    let (path, status_path) = (kind.one(&body), format!("{}/status", kind.one(&body)));
    ensure!(kind.server.get(&status_path).await.json() == made, "/status shows something else");
    let Some(wanted) = with_status(kind, &made).await else {
        return Err("no change of the status was accepted".to_owned());
    };
    let mut through_main = made.clone();
    through_main["status"] = wanted["status"].clone();
    through_main["metadata"]["labels"]["via"] = json!("main");
    let main = expect(&server.put(&path, &through_main).await, 200, "update")?;
    ensure!(main["status"] == made["status"], "the main resource writes status: {main}");
    let mut through_status = main.clone();
    through_status["status"] = wanted["status"].clone();
    through_status["metadata"]["labels"]["via"] = json!("status");
    let both = expect(&server.put(&status_path, &through_status).await, 200, "update of status")?;
    ensure!(both["status"] == wanted["status"], "status was not written: {both}");
    ensure!(both["spec"] == main["spec"], "/status writes the spec: {both}");
    ensure!(both["metadata"]["generation"] == main["metadata"]["generation"], "/status counts a generation");
    let apply = json!({"apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": {"name": body["metadata"]["name"]}, "status": wanted["status"]});
    let query = format!("{status_path}?fieldManager=controller&force=true");
    let applied = expect(&server.patch(&query, "apply", &apply).await, 200, "apply of status")?;
    let entries = applied["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    ensure!(
        entries.iter().any(|entry| entry["manager"] == "controller" && entry["subresource"] == "status"),
        "nobody manages the status: {applied}"
    );
    kind.remove(&body).await
}

#[tokio::test]
async fn every_status_is_apart_from_the_spec() {
    for_all(isolation).await;
}
