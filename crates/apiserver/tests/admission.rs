//! What is changed or refused on its way to storage, and the subresources of pods.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use serde_json::{Value, json};
use std::sync::Arc;
use support::Server;
use support::people::{pod, server, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DRY: &str = "/api/v1/namespaces/default/pods?dryRun=All";

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_pod_gets_its_token_tolerations_and_priority() {
    let server = server().await;
    let made = server.root("POST", PODS, pod("p")).await;
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["serviceAccount"], "default");
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert_eq!(
        spec["tolerations"],
        json!([
            {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300},
            {"effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300},
        ])
    );
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-"), "{name}");
    assert_eq!(
        volume["projected"],
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                "path": "namespace"}]}},
        ]})
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": name, "readOnly": true}])
    );
    let mut other = pod("q");
    other["spec"]["serviceAccountName"] = json!("nobody");
    let refused = server.by("root", "POST", PODS, &other).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
    let mut other = pod("q");
    other["spec"]["priorityClassName"] = json!("none");
    let refused = server.by("root", "POST", PODS, &other).await.expect(403);
    assert_eq!(refused["message"], "pods \"q\" is forbidden: no PriorityClass with name none was found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_must_exist_and_not_be_going_away() {
    let server = server().await;
    let path = "/api/v1/namespaces/nowhere/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let missing = server.by("root", "POST", path, &map).await.expect(404);
    assert_eq!(missing["message"], "namespaces \"nowhere\" not found");
    let immortal = server.by("root", "DELETE", "/api/v1/namespaces/default", &Value::Null).await.expect(403);
    assert_eq!(immortal["message"], "namespaces \"default\" is forbidden: this namespace may not be deleted");
    server.namespace("going", json!({})).await;
    server.root("DELETE", "/api/v1/namespaces/going", Value::Null).await;
    let create = || server.by("root", "POST", "/api/v1/namespaces/going/configmaps", &map);
    let refused = until(403, create).await.json();
    assert_eq!(
        refused["message"],
        "configmaps \"m\" is forbidden: unable to create new content in namespace going because it is being terminated"
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    // The namespace controller empties it and takes its finalizer out of the spec.
    let mut namespace = server.root("GET", "/api/v1/namespaces/going", Value::Null).await;
    namespace["spec"]["finalizers"] = json!([]);
    server.root("PUT", "/api/v1/namespaces/going/finalize", namespace).await;
    server.by("root", "GET", "/api/v1/namespaces/going", &Value::Null).await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_ranges_default_and_bound() {
    let server = server().await;
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "defaultRequest": {"cpu": "100m"}, "default": {"cpu": "200m"}, "max": {"cpu": "1"}}]}});
    server.root("POST", "/api/v1/namespaces/default/limitranges", range).await;
    let mut big = pod("big");
    big["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    let refused = until(403, || server.by("root", "POST", DRY, &big)).await.json();
    assert_eq!(
        refused["message"],
        "pods \"big\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
    let made = server.root("POST", PODS, pod("p")).await;
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_under_concurrency() {
    let server = Arc::new(server().await);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"count/configmaps": "5", "limits.cpu": "1"}}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    server.root("POST", quotas, quota).await;
    let plain = pod("p");
    let refused = until(403, || server.by("root", "POST", DRY, &plain)).await.json();
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: failed quota: q: must specify limits.cpu for: c"
    );
    let maps = "/api/v1/namespaces/default/configmaps";
    let already = server.root("GET", maps, Value::Null).await["items"].as_array().unwrap().len();
    let create = |i: usize| {
        let server = server.clone();
        async move {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{i}")}});
            server.by("root", "POST", maps, &map).await
        }
    };
    let answers = futures::future::join_all((0..20).map(create)).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made + already, 5, "{:?}", answers.iter().map(support::Answer::text).collect::<Vec<_>>());
    let refused = answers.iter().find(|answer| answer.code != 201).unwrap().expect(403);
    let message = refused["message"].as_str().unwrap();
    let words = "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=5, limited: count/configmaps=5";
    assert!(message.ends_with(words), "{message}");
    let used = server.root("GET", &format!("{quotas}/q"), Value::Null).await;
    assert_eq!(used["status"]["used"]["count/configmaps"], "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_enforces_and_warns() {
    let server = server().await;
    server
        .namespace(
            "safe",
            json!({"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted"}),
        )
        .await;
    let pods = "/api/v1/namespaces/safe/pods";
    let mut bad = pod("bad");
    bad["spec"]["hostNetwork"] = json!(true);
    let refused = server.by("root", "POST", pods, &bad).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"bad\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    let warned = server.by("root", "POST", pods, &pod("p")).await;
    warned.expect(201);
    let warnings = warned.all("warning").join("\n");
    assert!(warnings.contains("would violate PodSecurity \\\"restricted:latest\\\""), "{warnings}");
    let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "strict"}}});
    let refused = server.by("root", "PATCH", "/api/v1/namespaces/safe", &level).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("must be one of privileged, baseline, restricted"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_once() {
    let server = server().await;
    server.root("POST", PODS, pod("p")).await;
    let binding = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let path = format!("{PODS}/p/binding");
    assert_eq!(server.root("POST", &path, binding("n1")).await["status"], "Success");
    let bound = server.root("GET", &format!("{PODS}/p"), Value::Null).await;
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let scheduled = &bound["status"]["conditions"][0];
    assert_eq!((&scheduled["type"], &scheduled["status"]), (&json!("PodScheduled"), &json!("True")));
    let refused = server.by("root", "POST", &path, &binding("n2")).await.expect(409);
    assert_eq!(
        refused["message"],
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
    server.stop().await;
}

async fn budget(server: &Server, allowed: i64) {
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    let mut budget = server.root("POST", budgets, budget).await;
    budget["status"] = json!({"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1,
        "expectedPods": 2, "observedGeneration": budget["metadata"]["generation"]});
    server.root("PUT", &format!("{budgets}/b/status"), budget).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_respect_budgets() {
    let server = server().await;
    budget(&server, 1).await;
    for name in ["p1", "p2"] {
        server.root("POST", PODS, pod(name)).await;
        let running =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        server.root("PATCH", &format!("{PODS}/{name}/status"), running).await;
    }
    let evict = |name: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let (server, path) = (&server, format!("{PODS}/{name}/eviction"));
        async move { server.by("root", "POST", &path, &body).await }
    };
    assert_eq!(evict("p1").await.expect(201)["status"], "Success");
    let refused = evict("p2").await;
    let status = refused.expect(429);
    assert_eq!(status["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        status["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 2 currently"
    );
    server.root("GET", &format!("{PODS}/p2"), Value::Null).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelet_calls_fail_clearly() {
    let server = server().await;
    server.root("POST", PODS, pod("p")).await;
    let log = server.by("root", "GET", &format!("{PODS}/p/log"), &Value::Null).await;
    assert_eq!((log.code, log.text().as_str()), (200, ""), "nothing ran, nothing was written");
    let log = server.by("root", "GET", &format!("{PODS}/p/log?container=x"), &Value::Null).await.expect(400);
    assert_eq!(log["message"], "container x is not valid for pod p");
    let exec = server.by("root", "POST", &format!("{PODS}/p/exec?command=ls&stdout=1"), &Value::Null).await;
    assert_eq!(exec.expect(400)["message"], "pod p does not have a host assigned");
    let gone = "/apis/apps/v1/namespaces/default/deployments/d/rollback";
    server.by("root", "POST", gone, &json!({})).await.expect(404);
    server.stop().await;
}
