//! Creation: dry run, strictness, names, generated names, what the server fills in.

use crate::kind::{Kind, Outcome, expect, has_cause};
use crate::{ensure, fill, for_all};
use serde_json::{Value, json};

async fn creation(kind: &Kind<'_>) -> Outcome {
    let (server, body) = (kind.server, kind.object(1));
    let path = &kind.path;
    let dry = expect(&server.post(&format!("{path}?dryRun=All"), &body).await, 201, "a dry run of create")?;
    ensure!(dry["metadata"]["uid"].is_string(), "a dry run gives no uid: {dry}");
    ensure!(kind.is_gone(&body).await, "a dry run of create was stored");

    let mut unknown = body.clone();
    unknown["noSuchField"] = json!(1);
    let strict = server.post(&format!("{path}?dryRun=All&fieldValidation=Strict"), &unknown).await;
    let status = expect(&strict, 400, "a strict create with an unknown field")?;
    let text = status["message"].as_str().unwrap_or_default();
    ensure!(text.contains("strict decoding error: unknown field \"noSuchField\""), "{text}");
    let warned = server.post(&format!("{path}?dryRun=All"), &unknown).await;
    let warning = warned.all("warning").join(";");
    ensure!(
        warning.contains("unknown field \\\"noSuchField\\\""),
        "no warning of an unknown field: {warning:?}"
    );
    let ignored = server.post(&format!("{path}?dryRun=All&fieldValidation=Ignore"), &unknown).await;
    ensure!(!ignored.all("warning").iter().any(|w| w.contains("unknown field")), "Ignore warns");

    let answer = server.post(&format!("{path}?fieldManager=m&fieldValidation=Strict"), &body).await;
    let made = expect(&answer, 201, "create")?;
    let meta = &made["metadata"];
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        ensure!(meta[field].is_string(), "no metadata.{field}: {made}");
    }
    let managed = meta["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(managed.iter().any(|entry| entry["manager"] == "m"), "nobody manages {made}");
    let again = expect(&server.post(path, &body).await, 409, "create again")?;
    ensure!(again["reason"] == "AlreadyExists", "{again}");
    let mut versioned = kind.object(2);
    versioned["metadata"]["resourceVersion"] = json!("1");
    ensure!(server.post(path, &versioned).await.code == 500, "a creation may not name a version");
    kind.remove(&body).await
}

#[tokio::test]
async fn every_kind_is_created() {
    for_all(creation).await;
}

async fn naming(kind: &Kind<'_>) -> Outcome {
    let (server, path) = (kind.server, format!("{}?dryRun=All", kind.path));
    let with = |meta: Value| {
        let mut body = kind.object(3);
        body["metadata"] = meta;
        body
    };
    let nameless = expect(&server.post(&path, &with(json!({}))).await, 422, "create without a name")?;
    ensure!(has_cause(&nameless, "metadata.name"), "{nameless}");
    let bad = "a/b%";
    if !(kind.def.check_name)(bad, false).is_empty() {
        let status = expect(&server.post(&path, &with(json!({"name": bad}))).await, 422, "a bad name")?;
        ensure!(has_cause(&status, "metadata.name"), "{status}");
    }
    let labels = json!({"name": kind.object(3)["metadata"]["name"], "labels": {"a b": "c"}});
    let status = expect(&server.post(&path, &with(labels)).await, 422, "a bad label")?;
    ensure!(has_cause(&status, "metadata.labels"), "{status}");
    let generated = server.post(&path, &with(json!({"generateName": "gen-"}))).await;
    if kind.has_fixed_name() {
        ensure!(generated.code == 422, "a generated name answered {}", generated.code);
        return Ok(());
    }
    let made = expect(&generated, 201, "a generated name")?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    ensure!(name.starts_with("gen-") && name.len() == 9, "generated {name:?}");
    Ok(())
}

#[tokio::test]
async fn every_kind_has_rules_for_names() {
    for_all(naming).await;
}

async fn fullness(kind: &Kind<'_>) -> Outcome {
    for seed in 0..2 {
        // Thousands of validations: not on the thread that also serves.
        let (def, small) = (kind.def.clone(), kind.object(4));
        let growing = tokio::task::spawn_blocking(move || fill::object(&def, &small, seed));
        let full = growing.await.map_err(|error| error.to_string())?;
        let made = kind.create(&full).await.map_err(|why| format!("{why} for {full}"))?;
        let got = kind.get(&full).await?;
        ensure!(got == made, "get differs from create: {got} is not {made}");
        let same = expect(&kind.server.put(&kind.one(&full), &got).await, 200, "an unchanged update")?;
        ensure!(
            same["metadata"]["resourceVersion"] == got["metadata"]["resourceVersion"],
            "an unchanged update was written: {got} became {same}"
        );
        if let Some(lost) = fill::lost(&full, &made, "") {
            return Err(format!("{lost} was lost between {full} and {made}"));
        }
        kind.remove(&full).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_kind_keeps_all_that_its_schema_has() {
    for_all(fullness).await;
}
