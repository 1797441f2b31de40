//! Lists, selectors, pages, tables, metadata and watches.

use crate::kind::{Kind, Outcome, expect};
use crate::{ensure, for_all};
use serde_json::Value;

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

async fn lists(kind: &Kind<'_>) -> Outcome {
    let server = kind.server;
    let bodies = [kind.object(21), kind.object(22), kind.object(23)];
    for body in &bodies {
        kind.create(body).await?;
    }
    let all = format!("{}?labelSelector=row%3D{}", kind.path, kind.label());
    let list = expect(&server.get(&all).await, 200, "list")?;
    ensure!(names(&list).len() == 3, "{:?} are listed", names(&list));
    ensure!(list["kind"] == kind.def.list_kind.as_ref(), "{}", list["kind"]);
    let first = list["items"][0].clone();
    ensure!(first["kind"] == kind.def.gvk.kind.as_ref(), "an item without kind: {first}");
    let name = names(&list)[0];
    let by_name = format!("{}?fieldSelector=metadata.name%3D{name}", kind.path);
    ensure!(names(&expect(&server.get(&by_name).await, 200, "list by name")?) == [name], "by name");
    let others = format!("{all}&fieldSelector=metadata.name%21%3D{name}");
    ensure!(names(&expect(&server.get(&others).await, 200, "list by name")?).len() == 2, "by other names");
    for field in &kind.def.selectable {
        let path = format!("{all}&fieldSelector={}%3Dno-such-value", field.path);
        ensure!(
            names(&expect(&server.get(&path).await, 200, &field.path)?).is_empty(),
            "{} selects",
            field.path
        );
        let path = format!("{all}&fieldSelector={}%21%3Dno-such-value", field.path);
        ensure!(
            names(&expect(&server.get(&path).await, 200, &field.path)?).len() == 3,
            "{} loses",
            field.path
        );
    }
    let bad = server.get(&format!("{}?fieldSelector=no.such%3Dx", kind.path)).await;
    let status = expect(&bad, 400, "list by an unknown field")?;
    ensure!(status["message"].as_str().unwrap_or_default().contains("field label not supported"), "{status}");
    let mut page = format!("{all}&limit=2");
    let mut seen = Vec::new();
    loop {
        let list = expect(&server.get(&page).await, 200, "a page")?;
        ensure!(names(&list).len() <= 2, "a page of {}", names(&list).len());
        seen.extend(names(&list).into_iter().map(str::to_owned));
        match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            Some(token) => page = format!("{all}&limit=2&continue={token}"),
            None => break,
        }
    }
    ensure!(seen.len() == 3, "pages show {seen:?}");
    let accept = |value| [("Accept", value)];
    let table = accept("application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = expect(&server.request("GET", &all, &table, "").await, 200, "a table")?;
    let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(columns.len() == kind.def.columns.len(), "{columns:?}");
    let rows = table["rows"].as_array().cloned().unwrap_or_default();
    ensure!(
        rows.len() == 3 && rows[0]["cells"].as_array().is_some_and(|c| c.len() == columns.len()),
        "{rows:?}"
    );
    let partial = accept("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let partial = expect(&server.request("GET", &all, &partial, "").await, 200, "metadata")?;
    ensure!(partial["items"][0]["spec"].is_null() && names(&partial).len() == 3, "{partial}");
    for body in &bodies {
        kind.remove(body).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_kind_is_listed() {
    for_all(lists).await;
}

async fn watches(kind: &Kind<'_>) -> Outcome {
    let server = kind.server;
    let list = expect(&server.get(&format!("{}?limit=1", kind.path)).await, 200, "list")?;
    let start = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let body = kind.object(24);
    kind.create(&body).await?;
    let patch = serde_json::json!({"metadata": {"annotations": {"seen": "yes"}}});
    expect(&server.patch(&kind.one(&body), "merge", &patch).await, 200, "patch")?;
    kind.remove(&body).await?;
    let label = kind.label();
    let watch =
        format!("{}?watch=1&labelSelector=row%3D{label}&resourceVersion={start}&timeoutSeconds=1", kind.path);
    let answer = server.get(&watch).await;
    ensure!(answer.code == 200, "the watch answered {}: {}", answer.code, answer.text());
    let text = answer.text();
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    ensure!(types.first() == Some(&"ADDED") && types.last() == Some(&"DELETED"), "the watch saw {types:?}");
    ensure!(types.contains(&"MODIFIED"), "the watch saw {types:?}");
    let versions: Vec<i64> = events
        .iter()
        .filter_map(|event| event["object"]["metadata"]["resourceVersion"].as_str()?.parse().ok())
        .collect();
    ensure!(versions.len() == events.len() && versions.is_sorted(), "out of order: {versions:?}");
    ensure!(events[0]["object"]["kind"] == kind.def.gvk.kind.as_ref(), "{}", events[0]);
    Ok(())
}

#[tokio::test]
async fn every_kind_is_watched() {
    for_all(watches).await;
}
