//! What clients see of create, get, list, update, patch and delete.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use serde_json::{Value, json};
use support::Server;

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_lives_and_dies() {
    let server = Server::start().await;
    let made = server.post(MAPS, &config_map("one")).await.expect(201);
    assert!(made["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36));
    assert!(made["metadata"]["creationTimestamp"].is_string());
    let version = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();

    let got = server.get(&format!("{MAPS}/one")).await.expect(200);
    assert_eq!(got, made);

    let again = server.post(MAPS, &config_map("one")).await.expect(409);
    assert_eq!(again["reason"], "AlreadyExists");
    assert_eq!(again["message"], "configmaps \"one\" already exists");

    // An update that changes nothing is not written.
    let same = server.put(&format!("{MAPS}/one"), &made).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], version.as_str());

    let mut changed = made.clone();
    changed["data"]["a"] = json!("2");
    let changed = server.put(&format!("{MAPS}/one"), &changed).await.expect(200);
    assert_ne!(changed["metadata"]["resourceVersion"], version.as_str());

    let mut stale = made.clone();
    stale["data"]["a"] = json!("3");
    let stale = server.put(&format!("{MAPS}/one"), &stale).await.expect(409);
    assert_eq!(stale["reason"], "Conflict");
    assert!(
        stale["message"].as_str().unwrap().starts_with("Operation cannot be fulfilled on configmaps \"one\"")
    );

    let patched = server
        .patch(&format!("{MAPS}/one"), "merge", &json!({"data": {"b": "x", "a": null}}))
        .await
        .expect(200);
    assert_eq!(patched["data"], json!({"b": "x"}));
    let operations = json!([{"op": "replace", "path": "/data/b", "value": "y"}]);
    let patched = server.patch(&format!("{MAPS}/one"), "json", &operations).await.expect(200);
    assert_eq!(patched["data"], json!({"b": "y"}));

    let gone = server.delete(&format!("{MAPS}/one")).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
    let missing = server.get(&format!("{MAPS}/one")).await.expect(404);
    assert_eq!(missing["message"], "configmaps \"one\" not found");
    server.stop().await;
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let server = Server::start().await;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-"}});
    let made = server.post(MAPS, &body).await.expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
    let bad = server.post(MAPS, &config_map("Not_A_Name")).await.expect(422);
    assert_eq!(bad["details"]["causes"][0]["field"], "metadata.name");
    let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
    let none = server.post(MAPS, &none).await.expect(422);
    assert_eq!(
        none["message"],
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let elsewhere =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}});
    server.post(MAPS, &elsewhere).await.expect(400);
    let mut wrong = config_map("a");
    wrong["kind"] = json!("Secret");
    server.post(MAPS, &wrong).await.expect(400);
    server.stop().await;
}

#[tokio::test]
async fn dry_runs_leave_nothing() {
    let server = Server::start().await;
    server.post(&format!("{MAPS}?dryRun=All"), &config_map("dry")).await.expect(201);
    server.get(&format!("{MAPS}/dry")).await.expect(404);
    server.post(MAPS, &config_map("dry")).await.expect(201);
    let patch = json!({"data": {"a": "dry"}});
    let patched = server.patch(&format!("{MAPS}/dry?dryRun=All"), "merge", &patch).await.expect(200);
    assert_eq!(patched["data"]["a"], "dry");
    server.delete(&format!("{MAPS}/dry?dryRun=All")).await.expect(200);
    assert_eq!(server.get(&format!("{MAPS}/dry")).await.expect(200)["data"]["a"], "1");
    server.stop().await;
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let server = Server::start().await;
    let mut body = config_map("held");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.post(MAPS, &body).await.expect(201);
    let path = format!("{MAPS}/held");
    let held = server.delete(&path).await.expect(200);
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    server.patch(&path, "merge", &more).await.expect(422);
    server.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    server.get(&path).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn preconditions_and_propagation() {
    let server = Server::start().await;
    server.post(MAPS, &config_map("pre")).await.expect(201);
    let path = format!("{MAPS}/pre");
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "nope"}});
    let refused = server
        .request("DELETE", &path, &[("Content-Type", "application/json")], &options.to_string())
        .await
        .expect(409);
    assert!(refused["message"].as_str().unwrap().contains("UID in precondition: nope"), "{refused}");
    let pending = server.delete(&format!("{path}?propagationPolicy=Foreground")).await.expect(202);
    assert_eq!(pending["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    server.stop().await;
}

#[tokio::test]
async fn lists_page_on_one_snapshot() {
    let server = Server::start().await;
    for n in 0..7 {
        let mut body = config_map(&format!("p{n}"));
        body["metadata"]["labels"] = json!({"page": "yes"});
        server.post(MAPS, &body).await.expect(201);
    }
    let mut names = Vec::new();
    let first = server
        .get(&format!("{MAPS}?limit=3&fieldSelector=metadata.name!=kube-root-ca.crt"))
        .await
        .expect(200);
    let version = first["metadata"]["resourceVersion"].clone();
    let mut page = first;
    loop {
        names.extend(page["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].clone()));
        assert_eq!(page["metadata"]["resourceVersion"], version, "every page shows the same snapshot");
        let Some(token) = page["metadata"]["continue"].as_str().map(str::to_owned) else { break };
        // What happens between pages is not seen.
        server.delete(&format!("{MAPS}/p6")).await;
        let path = format!("{MAPS}?limit=3&fieldSelector=metadata.name!=kube-root-ca.crt&continue={token}");
        page = server.get(&path).await.expect(200);
    }
    assert_eq!(names, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"].map(|n| json!(n)));
    let selected = server.get(&format!("{MAPS}?labelSelector=page%3Dyes,page")).await.expect(200);
    assert_eq!(selected["items"].as_array().unwrap().len(), 6);
    let limited = server.get("/api/v1/namespaces?limit=1").await.expect(200);
    assert_eq!(limited["metadata"]["remainingItemCount"], 3);
    server.get(&format!("{MAPS}?fieldSelector=spec.nope=1")).await.expect(400);
    server.stop().await;
}

#[tokio::test]
async fn tables_and_metadata() {
    let server = Server::start().await;
    server.post(MAPS, &config_map("t")).await.expect(201);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let listed = server.request("GET", MAPS, &[("Accept", table)], "").await.expect(200);
    assert_eq!(listed["kind"], "Table");
    assert_eq!(listed["columnDefinitions"][0]["name"], "Name");
    let rows = listed["rows"].as_array().unwrap();
    assert!(
        rows.iter().any(|row| row["cells"][0] == "t" && row["object"]["kind"] == "PartialObjectMetadata")
    );
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let listed = server.request("GET", MAPS, &[("Accept", partial)], "").await.expect(200);
    assert_eq!(listed["kind"], "PartialObjectMetadataList");
    assert!(listed["items"][0].get("data").is_none());
    let yaml = server.request("GET", &format!("{MAPS}/t"), &[("Accept", "application/yaml")], "").await;
    assert!(yaml.text().contains("kind: ConfigMap"), "{}", yaml.text());
    server.request("GET", MAPS, &[("Accept", "image/png")], "").await.expect(406);
    let odd = server.request("POST", MAPS, &[("Content-Type", "text/csv")], "a,b").await;
    odd.expect(415);
    server.stop().await;
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let server = Server::start().await;
    let mut body = config_map("big");
    body["data"]["big"] = json!("x".repeat(3 * 1024 * 1024));
    let refused = server.post(MAPS, &body).await.expect(413);
    assert_eq!(refused["reason"], "RequestEntityTooLarge");
    server.stop().await;
}

#[tokio::test]
async fn collections_are_deleted() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.post(MAPS, &config_map(name)).await.expect(201);
    }
    let gone = server.delete(&format!("{MAPS}?fieldSelector=metadata.name!=b")).await.expect(200);
    assert_eq!(gone["kind"], "ConfigMapList");
    server.get(&format!("{MAPS}/b")).await.expect(200);
    server.get(&format!("{MAPS}/a")).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn large_lists_are_compressed() {
    let server = Server::start().await;
    for n in 0..6 {
        let mut body = config_map(&format!("z{n}"));
        body["data"]["a"] = json!("abcdefgh".repeat(5000));
        server.post(MAPS, &body).await.expect(201);
    }
    let plain = server.get(MAPS).await;
    assert_eq!(plain.header("content-encoding"), None);
    let packed = server.request("GET", MAPS, &[("Accept-Encoding", "gzip")], "").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 10 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed.body), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    let small = server.request("GET", &format!("{MAPS}/z0"), &[("Accept-Encoding", "gzip")], "").await;
    assert_eq!(small.header("content-encoding"), None, "below the threshold");
    server.stop().await;
}

#[tokio::test]
async fn field_validation_is_strict_warns_or_ignores() {
    let server = Server::start().await;
    let mut body = config_map("v");
    body["dta"] = json!({});
    let warned = server.post(&format!("{MAPS}?dryRun=All"), &body).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.all("warning"), ["299 - \"unknown field \\\"dta\\\"\""]);
    let strict = server.post(&format!("{MAPS}?fieldValidation=Strict"), &body).await.expect(400);
    assert_eq!(
        strict["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\""
    );
    let ignored = server.post(&format!("{MAPS}?fieldValidation=Ignore&dryRun=All"), &body).await;
    assert_eq!((ignored.code, ignored.all("warning").len()), (201, 0));
    server.post(&format!("{MAPS}?fieldValidation=Maybe"), &body).await.expect(422);
    server.stop().await;
}

#[tokio::test]
async fn contents_that_look_like_metadata_are_left_alone() {
    let server = Server::start().await;
    let data = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    let body = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"},
        "revision": 1, "data": data});
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let made = server.post(path, &body).await.expect(201);
    assert_eq!(made["data"], data);
    assert!(made["metadata"]["resourceVersion"].is_string());
    assert_eq!(server.get(&format!("{path}/r")).await.expect(200), made);
    server.stop().await;
}

#[tokio::test]
async fn lists_are_whole_at_every_size() {
    let server = Server::start().await;
    // Around 64 KiB what is stored is smaller than a piece of the answer, and what is written is larger.
    for n in 0..60 {
        let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": format!("map-{n:03}")},
            "data": {"value": "x".repeat(900)}});
        server.post(MAPS, &map).await.expect(201);
        let whole = server.get(MAPS).await.expect(200);
        assert_eq!(whole["items"].as_array().unwrap().len(), n + 1);
        let table = server
            .request(
                "GET",
                &format!("{MAPS}?includeObject=Object"),
                &[("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
                "",
            )
            .await
            .expect(200);
        assert_eq!(table["rows"].as_array().unwrap().len(), n + 1);
    }
    server.stop().await;
}
