//! ABAC, webhooks and the AuthorizationConfiguration file, through the front door.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::authz::{AuthorizationSettings, WebhookSettings};
use apiserver::contract::Decision;
use apiserver::{Config, UserInfo};
use component::Tasks;
use component::serve::{Handler, Limits, Request, Response, full, serve};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::Server;
use support::people::{config, until};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Allows `bob` to read, denies `alice` everything, and remembers what it was asked last.
#[derive(Clone, Default)]
struct Judge(Arc<Asked>);

#[derive(Default)]
struct Asked {
    asked: AtomicUsize,
    last: parking_lot::Mutex<Value>,
}

impl Handler for Judge {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let judge = self.0.clone();
        Box::pin(async move {
            judge.asked.fetch_add(1, Ordering::SeqCst);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let spec = &review["spec"];
            let reads = matches!(spec["resourceAttributes"]["verb"].as_str(), Some("get" | "list"));
            let status = match spec["user"].as_str().unwrap() {
                "bob" => json!({"allowed": reads}),
                "alice" => json!({"allowed": false, "denied": true, "reason": "not alice"}),
                _ => json!({"allowed": false, "reason": "who is that"}),
            };
            *judge.last.lock() = review.clone();
            let answer =
                json!({"apiVersion": review["apiVersion"], "kind": "SubjectAccessReview", "status": status});
            http::Response::new(full(answer.to_string()))
        })
    }
}

fn judge(dir: &Path, tasks: &Tasks) -> (Arc<Asked>, PathBuf) {
    let judge = Judge::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = serve(listener, None, Limits::default(), tasks, Arc::new(judge.clone())).unwrap();
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "s", "cluster": {"server": format!("http://{address}/authorize")}}],
        "contexts": [{"name": "c", "context": {"cluster": "s", "user": ""}}]});
    let path = dir.join("judge.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    (judge.0, path)
}

fn with(modes: &[&str], authorization: AuthorizationSettings) -> Config {
    Config { authorization_modes: modes.iter().map(|m| (*m).to_owned()).collect(), authorization, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn abac_reads_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.jsonl");
    let line = json!({"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy",
        "spec": {"user": "bob", "namespace": "default", "resource": "pods", "readonly": true}});
    std::fs::write(&file, line.to_string()).unwrap();
    let settings = AuthorizationSettings { policy_file: Some(file), ..AuthorizationSettings::default() };
    let server = Server::with(with(&["ABAC"], settings)).await;
    server.by("bob", "GET", PODS, &Value::Null).await.expect(200);
    let refused = server.by("bob", "DELETE", PODS, &Value::Null).await.expect(403);
    assert!(refused["message"].as_str().unwrap().ends_with("No policy matched."), "{refused}");
    server.by("alice", "GET", PODS, &Value::Null).await.expect(403);
    server.by("root", "GET", PODS, &Value::Null).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_decides_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let (judge, kubeconfig) = judge(dir.path(), &tasks);
    let webhook = WebhookSettings {
        name: "judge".to_owned(),
        kubeconfig,
        version: "v1".to_owned(),
        timeout: Duration::from_secs(5),
        authorized_ttl: Duration::from_secs(60),
        unauthorized_ttl: Duration::from_secs(60),
        deny_on_failure: false,
    };
    let settings = AuthorizationSettings { webhook: Some(webhook), ..AuthorizationSettings::default() };
    let server = Server::with(with(&["Webhook", "RBAC"], settings)).await;
    let selected = format!("{PODS}?labelSelector=a%20in%20(x,y),b&fieldSelector=spec.nodeName%3Dn");
    server.by("bob", "GET", &selected, &Value::Null).await.expect(200);
    let asked = judge.asked.load(Ordering::SeqCst);
    assert_eq!(
        judge.last.lock()["spec"],
        json!({"resourceAttributes": {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
            "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["x", "y"]},
                {"key": "b", "operator": "Exists"}]}},
            "user": "bob", "groups": ["system:authenticated"], "uid": "3"})
    );
    server.by("bob", "GET", &selected, &Value::Null).await.expect(200);
    assert_eq!(judge.asked.load(Ordering::SeqCst), asked, "the same question is not asked again");
    server.by("bob", "DELETE", PODS, &Value::Null).await.expect(403);
    let refused = server.by("alice", "GET", PODS, &Value::Null).await.expect(403);
    assert!(refused["message"].as_str().unwrap().ends_with(": not alice"), "{refused}");
    // Without an opinion of the webhook, RBAC is asked: everyone may see the version.
    server.by("bob", "GET", "/version", &Value::Null).await.expect(200);
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let (_, kubeconfig) = judge(dir.path(), &tasks);
    let file = dir.path().join("authorization.yaml");
    let write = |authorizers: &str| {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: ";
        std::fs::write(dir.path().join("new"), format!("{head}{authorizers}")).unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
    };
    let hook = |kubeconfig: &Path| {
        format!(
            "{{type: Webhook, name: judge, webhook: {{timeout: 5s, subjectAccessReviewVersion: v1, failurePolicy: Deny, \
             unauthorizedTTL: 1ms, authorizedTTL: 1ms, connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}}}}}",
            kubeconfig.display()
        )
    };
    write("[{type: RBAC, name: rbac}]");
    let settings = AuthorizationSettings { file: Some(file.clone()), ..AuthorizationSettings::default() };
    let server = Server::with(with(&[], settings)).await;
    server.by("bob", "GET", PODS, &Value::Null).await.expect(403);

    write(&format!("[{}, {{type: RBAC, name: rbac}}]", hook(&kubeconfig)));
    until(200, || server.by("bob", "GET", PODS, &Value::Null)).await;
    // What cannot be used changes nothing.
    write("[{type: Magic, name: x}]");
    write("[{type: RBAC, name: rbac}, {type: AlwaysDeny, name: never}]");
    let refused = until(403, || server.by("bob", "GET", PODS, &Value::Null)).await.json();
    assert!(refused["message"].as_str().unwrap().ends_with("Everything is forbidden."), "{refused}");

    // A webhook that does not answer denies, if its policy says so.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = dir.path().join("dead.kubeconfig");
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["clusters"][0]["cluster"]["server"] = json!(format!("http://{closed}/"));
    std::fs::write(&dead, value.to_string()).unwrap();
    write("[{type: AlwaysAllow, name: always}]");
    until(200, || server.by("bob", "GET", PODS, &Value::Null)).await;
    write(&format!("[{}, {{type: AlwaysAllow, name: always}}]", hook(&dead)));
    let refused = until(403, || server.by("bob", "GET", PODS, &Value::Null)).await.json();
    assert!(refused["message"].as_str().unwrap().ends_with("webhook authorizer failed"), "{refused}");
    server.by("root", "GET", PODS, &Value::Null).await.expect(200);
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_do_not_grow_with_the_cluster() {
    const BINDINGS: usize = 10_000;
    let server = Server::with(config()).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let groups = machinery::GroupVersionResource::new("rbac.authorization.k8s.io", "v1", "rolebindings");
    let target = api::transport::Target::all(groups).in_namespace("default");
    let binding = |at: usize| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": format!("b{at}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": format!("user{at}")}]})
    };
    let loopback = &server.api.context().loopback;
    let options = api::transport::WriteOptions::default();
    for chunk in (0..BINDINGS).collect::<Vec<_>>().chunks(100) {
        let made = chunk.iter().map(|at| loopback.create(&target, binding(*at).to_string().into(), &options));
        for result in futures::future::join_all(made).await {
            result.unwrap();
        }
    }
    let ask = |at: usize, verb: &'static str| apiserver::contract::Attributes {
        user: Arc::new(UserInfo::new(format!("user{at}"), &["system:authenticated"])),
        verb: verb.into(),
        resource_request: true,
        version: "v1".into(),
        resource: "pods".into(),
        namespace: "default".to_owned(),
        name: "p".to_owned(),
        ..apiserver::contract::Attributes::default()
    };
    let context = server.api.context();
    let last = ask(BINDINGS - 1, "get");
    let known = async {
        while context.authorize(&last).await != Decision::Allow {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known).await.expect("the index follows");
    let questions: Vec<_> =
        (0..1000).map(|at| ask(at * 7, if at % 2 == 0 { "get" } else { "delete" })).collect();
    let began = Instant::now();
    for (at, question) in questions.iter().enumerate() {
        let allowed = context.authorize(question).await == Decision::Allow;
        assert_eq!(allowed, at % 2 == 0, "{question:?}");
    }
    let each = began.elapsed() / 1000;
    println!("{each:?} for a decision among {BINDINGS} bindings (test build)");
    // A scan of all bindings would take some milliseconds in a test build.
    assert!(each < Duration::from_millis(1), "{each:?}");
    server.stop().await;
}
