//! Conformance behaviours that concern the API server: `conformance.tsv` says for each codename which test of ours shows it,
//! or that none does yet. The list of those may only shrink. The tests in this file were written from the published
//! descriptions, in our own words.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::Server;

const LIST: &str = include_str!("conformance.tsv");
/// How many are still unmet. Lower it with each that is met; never raise it.
const UNMET: usize = 47;

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

#[test]
fn every_behaviour_names_a_test_that_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let mut unmet = 0;
    for (name, test) in rows() {
        if test == "unmet" {
            unmet += 1;
            continue;
        }
        let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{name}: {test}"));
        let text = read(&format!("{file}.rs"));
        assert!(text.contains(&format!("fn {function}(")), "{name}: there is no {function} in {file}.rs");
    }
    assert_eq!(unmet, UNMET, "the number of unmet behaviours changed");
}

#[test]
fn every_codename_is_a_published_one() {
    let name = "every_codename_is_a_published_one";
    let Some(folder) = std::env::var_os("WINDLASS_REFERENCE") else {
        eprintln!("skipped {name}: WINDLASS_REFERENCE does not name the reference data");
        return;
    };
    let text = std::fs::read_to_string(Path::new(&folder).join("conformance.yaml")).unwrap();
    let flat = |text: &str| text.replace("''", "'").split_whitespace().collect::<Vec<_>>().join(" ");
    let published = flat(&text);
    for (codename, _) in rows() {
        assert!(published.contains(&flat(codename)), "{codename}");
    }
}

fn workload(kind: &str, api: &str) -> Value {
    let selector = if api == "v1" { json!({"a": "b"}) } else { json!({"matchLabels": {"a": "b"}}) };
    let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "scaled"}, "spec": {
        "replicas": 1, "selector": selector, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!("s");
    }
    object
}

#[tokio::test]
async fn workloads_have_a_working_scale() {
    let server = Server::start().await;
    for (kind, api, path) in [
        ("Deployment", "apps/v1", "/apis/apps/v1/namespaces/default/deployments"),
        ("ReplicaSet", "apps/v1", "/apis/apps/v1/namespaces/default/replicasets"),
        ("StatefulSet", "apps/v1", "/apis/apps/v1/namespaces/default/statefulsets"),
        ("ReplicationController", "v1", "/api/v1/namespaces/default/replicationcontrollers"),
    ] {
        server.post(path, &workload(kind, api)).await.expect(201);
        let (one, scale) = (format!("{path}/scaled"), format!("{path}/scaled/scale"));
        let mut now = server.get(&scale).await.expect(200);
        assert_eq!((&now["kind"], &now["spec"]["replicas"]), (&json!("Scale"), &json!(1)), "{kind}");
        assert_eq!(now["status"]["selector"], "a=b", "{kind}");
        now["spec"]["replicas"] = json!(2);
        let done = server.put(&scale, &now).await.expect(200);
        assert_eq!(done["spec"]["replicas"], 2, "{kind}");
        assert_eq!(server.get(&one).await.expect(200)["spec"]["replicas"], 2, "{kind}");
        let patch = json!({"spec": {"replicas": 4}});
        assert_eq!(server.patch(&scale, "merge", &patch).await.expect(200)["spec"]["replicas"], 4, "{kind}");
        assert_eq!(server.get(&one).await.expect(200)["spec"]["replicas"], 4, "{kind}");
        let status = server.patch(&scale, "merge", &json!({"spec": {"replicas": -1}})).await.expect(422);
        assert_eq!(status["details"]["causes"][0]["field"], "spec.replicas", "{kind}");
        server.put(&scale, &now).await.expect(409);
    }
    server.stop().await;
}

#[tokio::test]
async fn immutable_contents_stay() {
    let server = Server::start().await;
    for (kind, path) in [
        ("ConfigMap", "/api/v1/namespaces/default/configmaps"),
        ("Secret", "/api/v1/namespaces/default/secrets"),
    ] {
        let body =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "fixed"}, "data": {"a": "YQ=="}});
        let mut made = server.post(path, &body).await.expect(201);
        let one = format!("{path}/fixed");
        made["data"]["a"] = json!("Yg==");
        made = server.put(&one, &made).await.expect(200);
        made["immutable"] = json!(true);
        made = server.put(&one, &made).await.expect(200);
        for change in
            [json!({"data": {"a": "Yw=="}}), json!({"immutable": false}), json!({"immutable": null})]
        {
            let status = server.patch(&one, "merge", &change).await.expect(422);
            assert_eq!(status["reason"], "Invalid", "{kind} {change}");
        }
        // What is not contents may change, and the whole may go.
        server.patch(&one, "merge", &json!({"metadata": {"labels": {"l": "1"}}})).await.expect(200);
        assert_eq!(server.delete(&one).await.code, 200);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_service_has_a_status_of_its_own() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/services";
    let body = json!({"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    server.post(path, &body).await.expect(201);
    let status = format!("{path}/lb/status");
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    let patched = server.patch(&status, "merge", &ingress).await.expect(200);
    assert_eq!(
        patched["status"]["loadBalancer"]["ingress"][0],
        json!({"ip": "203.0.113.1", "ipMode": "VIP"})
    );
    let mut now = server.get(&status).await.expect(200);
    now["status"]["conditions"] = json!([{"type": "StatusUpdate", "status": "True", "reason": "Test", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let updated = server.put(&status, &now).await.expect(200);
    assert_eq!(updated["status"]["conditions"][0]["type"], "StatusUpdate");
    let plain = json!({"metadata": {"name": "plain"}, "spec": {"ports": [{"port": 80}]}});
    server.post(path, &plain).await.expect(201);
    let refused = server.patch(&format!("{path}/plain/status"), "merge", &ingress).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("may only be used when `spec.type` is"),
        "{refused}"
    );
    server.stop().await;
}

async fn pod(server: &Server, name: &str) -> String {
    let path = "/api/v1/namespaces/default/pods";
    let body = json!({"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i",
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}]}});
    server.post(path, &body).await.expect(201);
    format!("{path}/{name}")
}

#[tokio::test]
async fn pods_count_generations_and_are_patched_in_parts() {
    let server = Server::start().await;
    let path = pod(&server, "parts").await;
    let generation = |pod: &Value| pod["metadata"]["generation"].as_i64().unwrap();
    let made = server.get(&path).await.expect(200);
    assert_eq!(generation(&made), 1);
    let labelled =
        server.patch(&path, "merge", &json!({"metadata": {"labels": {"l": "1"}}})).await.expect(200);
    assert_eq!(generation(&labelled), 1, "labels are not desired state");
    let image = json!({"spec": {"containers": [{"name": "c", "image": "j"}]}});
    assert_eq!(generation(&server.patch(&path, "strategic-merge", &image).await.expect(200)), 2);
    // Its status, by a patch that leaves the spec alone.
    let status = json!({"status": {"message": "patched"}, "spec": {"activeDeadlineSeconds": 5}});
    let patched = server.patch(&format!("{path}/status"), "merge", &status).await.expect(200);
    assert_eq!(patched["status"]["message"], "patched");
    assert!(patched["spec"]["activeDeadlineSeconds"].is_null() && generation(&patched) == 2);
    // Ephemeral containers come, and never go.
    let extra = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "d"}]}});
    let debugged =
        server.patch(&format!("{path}/ephemeralcontainers"), "strategic-merge", &extra).await.expect(200);
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "debug");
    let mut without = server.get(&format!("{path}/ephemeralcontainers")).await.expect(200);
    without["spec"]["ephemeralContainers"] = json!([]);
    server.put(&format!("{path}/ephemeralcontainers"), &without).await.expect(422);
    // CPU and memory, through `resize` only.
    let more = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "150m"}}}]}});
    server.patch(&path, "strategic-merge", &more).await.expect(422);
    let mut resized = server.get(&format!("{path}/resize")).await.expect(200);
    resized["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("150m");
    let before = generation(&resized);
    let resized = server.put(&format!("{path}/resize"), &resized).await.expect(200);
    assert_eq!(resized["spec"]["containers"][0]["resources"]["requests"]["cpu"], "150m");
    assert_eq!(generation(&resized), before + 1);
    let guaranteed = json!({"spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "200m", "memory": "1Mi"}, "limits": {"cpu": "200m", "memory": "1Mi"}}}]}});
    let refused = server.patch(&format!("{path}/resize"), "strategic-merge", &guaranteed).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("Pod QOS Class may not change"), "{refused}");
    // A deletion with grace is a change of desired state.
    let before = generation(&server.get(&path).await.expect(200));
    let deleting = server.delete(&path).await.expect(200);
    assert_eq!(generation(&deleting), before + 1);
    server.stop().await;
}

#[tokio::test]
async fn namespaces_are_patched_updated_and_held() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/held";
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "held"}})).await.expect(201);
    let label = json!({"metadata": {"labels": {"testLabel": "testValue"}}});
    let patched = server.patch(path, "strategic-merge", &label).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["testLabel"], "testValue");
    assert_eq!(patched["metadata"]["labels"]["kubernetes.io/metadata.name"], "held");
    let condition = json!({"type": "Patched", "status": "False", "reason": "r", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"conditions": [condition]}});
    let patched = server.patch(&format!("{path}/status"), "merge", &status).await.expect(200);
    assert_eq!(patched["status"]["conditions"][0]["type"], "Patched");
    let mut finalized = server.get(path).await.expect(200);
    finalized["spec"]["finalizers"] = json!(["e2e.example.com/fakeFinalizer", "kubernetes"]);
    let finalized = server.put(&format!("{path}/finalize"), &finalized).await.expect(200);
    assert_eq!(finalized["spec"]["finalizers"].as_array().unwrap().len(), 2);
    let deleting = server.delete(path).await.expect(200);
    assert_eq!(deleting["status"]["phase"], "Terminating");
    let refused = server
        .post("/api/v1/namespaces/held/configmaps", &json!({"metadata": {"name": "x"}}))
        .await
        .expect(403);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut freed = server.get(path).await.expect(200);
    freed["spec"]["finalizers"] = json!([]);
    server.put(&format!("{path}/finalize"), &freed).await.expect(200);
    assert_eq!(server.get(path).await.code, 404);
    server.stop().await;
}

#[tokio::test]
async fn certificate_requests_are_approved_and_issued_apart() {
    let server = Server::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let body = json!({"metadata": {"name": "c"}, "spec": {"signerName": "example.com/s", "usages": ["digital signature"],
        "request": include_str!("support/request.b64").trim()}});
    server.post(path, &body).await.expect(201);
    let one = format!("{path}/c");
    let mut now = server.get(&format!("{one}/approval")).await.expect(200);
    let decision = |kind: &str| json!([{"type": kind, "status": "True", "reason": "r", "message": "m"}]);
    now["status"]["conditions"] = decision("Approved");
    let approved = server.put(&format!("{one}/approval"), &now).await.expect(200);
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    let denied = server
        .patch(&format!("{one}/approval"), "merge", &json!({"status": {"conditions": decision("Denied")}}))
        .await;
    denied.expect(422);
    // The status of others cannot decide, and approval cannot issue.
    let certificate = json!({"status": {"certificate": "bm90IGEgY2VydGlmaWNhdGU="}});
    let kept = server.patch(&format!("{one}/approval"), "merge", &certificate).await.expect(200);
    assert!(kept["status"]["certificate"].is_null(), "{kept}");
    let annotated = json!({"metadata": {"annotations": {"patchedstatus": "true"}}});
    assert_eq!(server.patch(&format!("{one}/status"), "merge", &annotated).await.code, 200);
    server.stop().await;
}
