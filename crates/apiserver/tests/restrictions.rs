//! Admission plugins that are off unless asked for, with their configuration file.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::Config;
use serde_json::{Value, json};
use support::Server;
use support::people::{self, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server with these plugins; `plugins` are their configurations by name.
async fn server(enable: &[&str], plugins: &Value) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admission.yaml");
    let list: Vec<Value> = plugins
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, configuration)| json!({"name": name, "configuration": configuration}))
        .collect();
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": list});
    std::fs::write(&path, file.to_string()).unwrap();
    let enable = enable.iter().map(|name| (*name).to_owned()).collect();
    Server::with(Config { enable_admission: enable, admission_config: Some(path), ..people::config() }).await
}

async fn annotate(server: &Server, annotations: Value) {
    let patch = json!({"metadata": {"annotations": annotations}});
    server.root("PATCH", "/api/v1/namespaces/default", patch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_where_their_namespace_says() {
    let plugins =
        json!({"PodNodeSelector": {"podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "zone=a"}}});
    let server = server(&["PodNodeSelector"], &plugins).await;
    let made = server.root("POST", PODS, pod("a")).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"zone": "a"}));
    annotate(&server, json!({"scheduler.alpha.kubernetes.io/node-selector": "zone=b, disk=ssd"})).await;
    let mut own = pod("b");
    own["spec"]["nodeSelector"] = json!({"arch": "x"});
    let mut made = server.root("POST", &format!("{PODS}?dryRun=All"), own.clone()).await;
    // The namespace is read from the cache, which follows a moment later.
    while made["spec"]["nodeSelector"]["zone"] != "b" {
        made = server.root("POST", &format!("{PODS}?dryRun=All"), own.clone()).await;
    }
    assert_eq!(made["spec"]["nodeSelector"], json!({"zone": "b", "disk": "ssd", "arch": "x"}));
    own["spec"]["nodeSelector"] = json!({"zone": "c"});
    let refused = server.by("root", "POST", PODS, &own).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"b\" is forbidden: pod node label selector conflicts with its namespace node label selector"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_tolerate_what_their_namespace_allows() {
    let server = server(&["PodTolerationRestriction"], &json!({})).await;
    annotate(
        &server,
        json!({"scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\": \"gpu\", \"operator\": \"Exists\"}]",
            "scheduler.alpha.kubernetes.io/tolerationsWhitelist":
                "[{\"key\": \"gpu\", \"operator\": \"Exists\"}, {\"key\": \"node.kubernetes.io/not-ready\", \"operator\": \"Exists\"}, \
                 {\"key\": \"node.kubernetes.io/unreachable\", \"operator\": \"Exists\"}]"}),
    )
    .await;
    let dry = format!("{PODS}?dryRun=All");
    let has_gpu = |made: &Value| {
        made["spec"]["tolerations"].as_array().is_some_and(|all| all.iter().any(|t| t["key"] == "gpu"))
    };
    let mut made = server.root("POST", &dry, pod("a")).await;
    while !has_gpu(&made) {
        made = server.root("POST", &dry, pod("a")).await;
    }
    let mut other = pod("b");
    other["spec"]["tolerations"] = json!([{"key": "dedicated", "operator": "Exists"}]);
    let refused = server.by("root", "POST", PODS, &other).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with("conflict with its namespace whitelist"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_run_out_of_tokens() {
    let plugins = json!({"EventRateLimit": {"limits": [{"type": "Namespace", "qps": 1, "burst": 3}]}});
    let server = server(&["EventRateLimit"], &plugins).await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "e-"},
        "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}});
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(server.by("root", "POST", "/api/v1/namespaces/default/events", &event).await);
    }
    assert_eq!(codes.iter().take_while(|answer| answer.code == 201).count(), 3);
    let refused = codes.iter().find(|answer| answer.code == 429).expect("a refusal");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["message"], "limit reached on type Namespace for key default");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_set_by_those_who_may_delete() {
    let server = server(&["OwnerReferencesPermissionEnforcement"], &json!({})).await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update", "patch"]}]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "maps"}, "rules": rules});
    server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "maps"}, "subjects": [{"kind": "User", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"}});
    server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str, owners: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}});
    let owner = |block: bool| json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "1", "blockOwnerDeletion": block}]);
    let free = map("free", owner(false));
    people::until(201, || server.by("alice", "POST", maps, &free)).await;
    let refused = server.by("alice", "POST", maps, &map("held", owner(true))).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "configmaps \"held\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you \
             can't set finalizers on: "
        ),
        "{message}"
    );
    let path = format!("{maps}/free");
    let refused =
        server.by("alice", "PATCH", &path, &json!({"metadata": {"ownerReferences": null}})).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("cannot set an ownerRef on a resource you can't delete: "), "{message}");
    server.by("alice", "PATCH", &path, &json!({"data": {"a": "b"}})).await.expect(200);
    server.root("PATCH", &path, json!({"metadata": {"ownerReferences": null}})).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_security_standards_have_defaults_and_exceptions() {
    let plugins = json!({"PodSecurity": {"apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration", "defaults": {"enforce": "restricted", "enforce-version": "latest"},
        "exemptions": {"usernames": ["alice"], "namespaces": ["kube-system"], "runtimeClasses": []}}});
    let server = server(&[], &plugins).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "all"}, "subjects": [{"kind": "User", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let refused = server.by("root", "POST", PODS, &pod("p")).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with("pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": "),
        "{message}"
    );
    let body = pod("p");
    people::until(201, || server.by("alice", "POST", PODS, &body)).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.root("POST", "/api/v1/namespaces/kube-system/serviceaccounts", account).await;
    let system = "/api/v1/namespaces/kube-system/pods";
    people::until(201, || server.by("root", "POST", system, &body)).await;
    server.stop().await;
}
