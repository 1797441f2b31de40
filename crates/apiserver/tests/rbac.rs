//! Who may do what: RBAC, its defaults, escalation, nodes, access reviews.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use serde_json::{Value, json};
use support::Server;
use support::people::{pod, server, until};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const DEFAULT: &str = "/api/v1/namespaces/default";

fn rule(verbs: Value, groups: Value, resources: Value) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
}

fn role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules})
}

async fn bind(server: &Server, binding: Value) {
    let path = format!("{RBAC}/namespaces/default/rolebindings");
    server.root("POST", &path, binding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_opens_exactly_what_its_role_says() {
    let server = server().await;
    let pods = format!("{DEFAULT}/pods");
    server.by("alice", "GET", &pods, &Value::Null).await.expect(403);
    bind(&server, binding("b", "ClusterRole", "view", "alice")).await;
    until(200, || server.by("alice", "GET", &pods, &Value::Null)).await;
    let secrets = server.by("alice", "GET", &format!("{DEFAULT}/secrets"), &Value::Null).await.expect(403);
    assert_eq!(
        secrets["message"],
        "secrets is forbidden: User \"alice\" cannot list resource \"secrets\" in API group \"\" in the namespace \
         \"default\""
    );
    server.by("alice", "GET", "/api/v1/pods", &Value::Null).await.expect(403);
    server.by("alice", "POST", &pods, &pod("p")).await.expect(403);
    server.by("bob", "GET", &pods, &Value::Null).await.expect(403);
    server.root("DELETE", &format!("{RBAC}/namespaces/default/rolebindings/b"), Value::Null).await;
    until(403, || server.by("alice", "GET", &pods, &Value::Null)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_what_they_do_not_hold() {
    let server = server().await;
    let rules = json!([
        rule(json!(["*"]), json!(["rbac.authorization.k8s.io"]), json!(["roles", "rolebindings"])),
        rule(json!(["get"]), json!([""]), json!(["pods"]))
    ]);
    let roles = format!("{RBAC}/namespaces/default/roles");
    server.root("POST", &roles, role("manager", rules)).await;
    // The wildcard includes the verbs "bind" and "escalate"; take it back to what managers usually get.
    let rules = json!([
        rule(
            json!(["create", "update", "get"]),
            json!(["rbac.authorization.k8s.io"]),
            json!(["roles", "rolebindings"])
        ),
        rule(json!(["get"]), json!([""]), json!(["pods"]))
    ]);
    server.root("PUT", &format!("{roles}/manager"), role("manager", rules)).await;
    bind(&server, binding("m", "Role", "manager", "alice")).await;
    let held = role("held", json!([rule(json!(["get"]), json!([""]), json!(["pods"]))]));
    until(201, || server.by("alice", "POST", &roles, &held)).await;
    let more = role("more", json!([rule(json!(["get", "list"]), json!([""]), json!(["secrets"]))]));
    let refused = server.by("alice", "POST", &roles, &more).await.expect(403);
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"alice\" (groups=[\"dev\" \"ops\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"list\"]}"
    );
    let path = format!("{RBAC}/namespaces/default/rolebindings");
    let refused =
        server.by("alice", "POST", &path, &binding("x", "ClusterRole", "cluster-admin", "alice")).await;
    assert_eq!(refused.code, 403, "{}", refused.text());
    server.by("alice", "POST", &path, &binding("y", "Role", "held", "bob")).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_there_and_repaired() {
    let server = server().await;
    let all = server.root("GET", &format!("{RBAC}/clusterroles"), Value::Null).await;
    let names: Vec<&str> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|role| role["metadata"]["name"].as_str())
        .collect();
    for name in ["cluster-admin", "admin", "edit", "view", "system:node", "system:controller:job-controller"]
    {
        assert!(names.contains(&name), "{name}");
    }
    let path = format!("{RBAC}/clusterroles/system:discovery");
    server.root("PATCH", &path, json!({"rules": []})).await;
    apiserver::authz::bootstrap::reconcile(server.api.context()).await.unwrap();
    let repaired = server.root("GET", &path, Value::Null).await;
    assert!(!repaired["rules"].as_array().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_answer_for_oneself_and_others() {
    let server = server().await;
    bind(&server, binding("b", "ClusterRole", "view", "alice")).await;
    let pods = format!("{DEFAULT}/pods");
    until(200, || server.by("alice", "GET", &pods, &Value::Null)).await;
    let ask = |kind: &str, spec: Value| json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
    let about = |verb: &str| json!({"namespace": "default", "verb": verb, "resource": "pods"});
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (verb, allowed) in [("get", true), ("delete", false)] {
        let body = ask("SelfSubjectAccessReview", json!({"resourceAttributes": about(verb)}));
        let answer = server.by("alice", "POST", own, &body).await.expect(201);
        assert_eq!(answer["status"]["allowed"], allowed, "{verb}");
    }
    let others = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let body = ask("SubjectAccessReview", json!({"user": "alice", "resourceAttributes": about("list")}));
    let answer = server.root("POST", others, body.clone()).await;
    assert_eq!(
        answer["status"],
        json!({"allowed": true, "reason":
            "RBAC: allowed by RoleBinding \"b/default\" of ClusterRole \"view\" to User \"alice\""})
    );
    server.by("alice", "POST", others, &body).await.expect(403);
    server.by("root", "POST", others, &ask("SubjectAccessReview", json!({"user": "x"}))).await.expect(422);
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let body = ask("SelfSubjectRulesReview", json!({"namespace": "default"}));
    let answer = server.by("alice", "POST", rules, &body).await.expect(201);
    assert!(answer["status"]["resourceRules"].as_array().unwrap().len() > 5);
    assert_eq!(answer["status"]["incomplete"], false);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_read_what_their_pods_need_and_write_what_is_theirs() {
    let server = server().await;
    let node = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    server.by("n1", "POST", "/api/v1/nodes", &node("n1")).await.expect(201);
    server.by("n1", "POST", "/api/v1/nodes", &node("n2")).await.expect(403);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    server.root("POST", &format!("{DEFAULT}/secrets"), secret).await;
    let path = format!("{DEFAULT}/secrets/s");
    let refused = server.by("n1", "GET", &path, &Value::Null).await.expect(403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("no relationship found between node 'n1' and this object"),
        "{refused}"
    );
    let mut wants = pod("p");
    wants["spec"]["nodeName"] = json!("n1");
    wants["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    server.root("POST", &format!("{DEFAULT}/pods"), wants).await;
    until(200, || server.by("n1", "GET", &path, &Value::Null)).await;
    server.by("n2", "GET", &path, &Value::Null).await.expect(403);
    server.by("n1", "GET", &format!("{DEFAULT}/secrets"), &Value::Null).await.expect(403);
    server.by("n1", "GET", "/api/v1/pods", &Value::Null).await.expect(403);
    let mine = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(
        server.by("n1", "GET", mine, &Value::Null).await.expect(200)["items"].as_array().unwrap().len(),
        1
    );
    server.by("n2", "GET", mine, &Value::Null).await.expect(403);
    let status = json!({"status": {"phase": "Running"}});
    server.by("n1", "PATCH", &format!("{DEFAULT}/pods/p/status"), &status).await.expect(200);
    server.by("n2", "PATCH", &format!("{DEFAULT}/pods/p/status"), &status).await.expect(403);
    let labels = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    server.by("n1", "PATCH", "/api/v1/nodes/n1", &labels).await.expect(403);
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let tokens = format!("{DEFAULT}/serviceaccounts/default/token");
    let unbound = server.by("n1", "POST", &tokens, &token).await.expect(403);
    assert!(unbound["message"].as_str().unwrap().contains("not bound to a pod"), "{unbound}");
    server.stop().await;
}
