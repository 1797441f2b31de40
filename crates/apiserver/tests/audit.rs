//! What the audit log and the audit webhook are told of requests.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use api::transport::{ListOptions, Target};
use apiserver::audit::{AuditConfig, AuditWebhook, Batch, Feeding, LogFile, Mode};
use apiserver::{Config, UserInfo};
use component::Tasks;
use component::serve::{Handler, Limits, Request, Response, full, serve};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use machinery::GroupVersionResource;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use support::people::{config, pod};
use tokio::sync::mpsc;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn audited(dir: &Path, policy: &str, mode: Mode) -> Config {
    let file = dir.join("policy.yaml");
    std::fs::write(&file, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}")).unwrap();
    let log = LogFile {
        path: dir.join("audit.log"),
        json: true,
        max_age: 0,
        max_backups: 0,
        max_size: 0,
        compress: false,
    };
    let feeding = Feeding { mode, batch: Batch::LOG, truncate: None };
    let audit = AuditConfig { policy: Some(file), log: Some((log, feeding)), webhook: None };
    Config { audit, ..config() }
}

fn events(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of the request with this id.
fn of(dir: &Path, id: &str) -> Vec<Value> {
    events(dir).into_iter().filter(|event| event["auditID"] == id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_tells_what_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let policy = "rules:
- {level: None, nonResourceURLs: [/healthz]}
- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitManagedFields: true}
- {level: Request, verbs: [create, patch], resources: [{group: '', resources: [pods]}]}
- {level: Metadata}";
    let server = Server::with(audited(dir.path(), policy, Mode::Blocking)).await;
    let ask = async |id: &str, who: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {who}");
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", kind),
            ("Audit-ID", id),
            ("User-Agent", "tester/1.0"),
            ("X-Forwarded-For", "203.0.113.7"),
        ];
        server.request(method, path, &headers, body).await
    };

    let made = ask("a", "root", "POST", PODS, &pod("p").to_string()).await;
    assert_eq!((made.code, made.header("audit-id")), (201, Some("a")));
    let told = of(dir.path(), "a");
    assert_eq!(told.len(), 2, "received and complete: {told:?}");
    assert_eq!(
        (&told[0]["stage"], &told[1]["stage"]),
        (&json!("RequestReceived"), &json!("ResponseComplete"))
    );
    let done = &told[1];
    assert_eq!((&done["kind"], &done["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!((&done["level"], &done["verb"]), (&json!("Request"), &json!("create")));
    assert_eq!(done["requestURI"], PODS);
    assert_eq!(done["user"]["username"], "admin");
    assert_eq!(done["user"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(done["sourceIPs"], json!(["203.0.113.7", "127.0.0.1"]));
    assert_eq!(done["userAgent"], "tester/1.0");
    assert_eq!(
        done["objectRef"],
        json!({"resource": "pods", "namespace": "default", "name": "p", "apiVersion": "v1"})
    );
    assert_eq!(done["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(done["requestObject"]["spec"]["restartPolicy"], "Always", "with defaults");
    assert_eq!(done["responseObject"], Value::Null);
    assert_eq!(done["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(done["requestReceivedTimestamp"].as_str().unwrap().len(), "2026-01-01T00:00:00.000000Z".len());

    let patch = json!({"metadata": {"labels": {"x": "y"}}}).to_string();
    assert_eq!(ask("b", "root", "PATCH", &format!("{PODS}/p"), &patch).await.code, 200);
    assert_eq!(of(dir.path(), "b")[1]["requestObject"]["metadata"]["labels"], json!({"x": "y"}));

    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(ask("c", "root", "POST", maps, &map.to_string()).await.code, 201);
    let done = &of(dir.path(), "c")[1];
    assert_eq!(done["responseObject"]["data"], json!({"a": "b"}));
    assert!(done["responseObject"]["metadata"]["uid"].is_string());
    assert_eq!(done["responseObject"]["metadata"]["managedFields"], Value::Null);
    assert_eq!(ask("d", "root", "GET", maps, "").await.code, 200);
    assert_eq!(of(dir.path(), "d")[1]["responseObject"]["kind"], "ConfigMapList");

    assert_eq!(ask("e", "bob", "DELETE", &format!("{PODS}/p"), "").await.code, 403);
    let done = &of(dir.path(), "e")[1];
    assert_eq!(done["annotations"]["authorization.k8s.io/decision"], "forbid");
    let status = &done["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
    assert!(status["message"].as_str().unwrap().contains("User \"bob\" cannot delete"), "{status}");

    assert_eq!(ask("f", "stolen-secret", "GET", PODS, "").await.code, 401);
    let told = of(dir.path(), "f");
    assert_eq!((told.len(), &told[0]["stage"]), (1, &json!("ResponseStarted")));
    assert_eq!(told[0]["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!(told[0]["user"], json!({}));

    assert_eq!(ask("g", "root", "GET", "/healthz", "").await.code, 200);
    assert!(of(dir.path(), "g").is_empty());
    server.stop().await;
    let all = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert!(!all.contains("stolen-secret") && !all.contains("Bearer"), "no credentials in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_and_streams_and_local_calls_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let policy = "omitStages: [RequestReceived]\nrules:\n- {level: Metadata}";
    let server = Server::with(audited(dir.path(), policy, Mode::BlockingStrict)).await;
    let headers = [("Authorization", "Bearer root"), ("Impersonate-User", "carol"), ("Audit-ID", "a")];
    assert_eq!(server.request("GET", PODS, &headers, "").await.code, 403);
    let told = of(dir.path(), "a");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["user"]["username"], &told[0]["impersonatedUser"]["username"]),
        (&json!("admin"), &json!("carol"))
    );
    assert!(
        told[0]["responseStatus"]["message"].as_str().unwrap().contains("User \"carol\""),
        "the refusal is for whom the sender acts as"
    );

    let headers = [("Authorization", "Bearer root"), ("Audit-ID", "w")];
    let watch = server.request("GET", &format!("{PODS}?watch=1&timeoutSeconds=1"), &headers, "").await;
    assert_eq!(watch.code, 200);
    let stages: Vec<Value> = of(dir.path(), "w").iter().map(|event| event["stage"].clone()).collect();
    assert_eq!(stages[0], "ResponseStarted");

    let local = server.api.transport(UserInfo::new("system:kube-scheduler", &["system:authenticated"]));
    let pods = Target::all(GroupVersionResource::new("", "v1", "pods")).in_namespace("default");
    local.list(&pods, &ListOptions::default()).await.unwrap();
    server.stop().await;
    let told = events(dir.path());
    let scheduler = told.iter().find(|event| event["user"]["username"] == "system:kube-scheduler").unwrap();
    assert_eq!((&scheduler["verb"], &scheduler["requestURI"]), (&json!("list"), &json!(PODS)));
    let reason = scheduler["annotations"]["authorization.k8s.io/reason"].as_str();
    assert!(reason.is_none() || reason.unwrap().starts_with("RBAC"), "{reason:?}");
    let stages: Vec<Value> = of(dir.path(), "w").iter().map(|event| event["stage"].clone()).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"], "the watch ended too");
}

/// Hands on what it is sent; the first batch is refused once.
struct Collector {
    told: mpsc::UnboundedSender<Value>,
    refuse: std::sync::atomic::AtomicBool,
}

impl Handler for Collector {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let told = self.told.clone();
        let refuse = self.refuse.swap(false, std::sync::atomic::Ordering::AcqRel);
        Box::pin(async move {
            assert_eq!(request.headers()["authorization"], "Bearer for-the-collector");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut response = http::Response::new(full(""));
            if refuse {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            } else {
                told.send(serde_json::from_slice(&body).unwrap()).unwrap();
            }
            response
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_batches_and_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let policy = "omitStages: [RequestReceived]\nrules:\n- {level: RequestResponse, users: [admin]}";
    let mut config = audited(dir.path(), policy, Mode::Batch);
    let tasks = Tasks::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (told, mut batches) = mpsc::unbounded_channel();
    let collector = Arc::new(Collector { told, refuse: true.into() });
    let address = serve(listener, None, Limits::default(), &tasks, collector).unwrap();
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "s", "cluster": {"server": format!("http://{address}/audit")}}],
        "users": [{"name": "u", "user": {"token": "for-the-collector"}}],
        "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u"}}]});
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let batch = Batch { max_wait: Duration::from_secs(60), max_size: 2, ..Batch::WEBHOOK };
    config.audit.log = None;
    config.audit.webhook = Some(AuditWebhook {
        kubeconfig: path,
        initial_backoff: Duration::from_millis(1),
        feeding: Feeding { mode: Mode::Batch, batch, truncate: Some((2000, 10_000)) },
    });
    let server = Server::with(config).await;
    let big = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b".repeat(3000)}});
    server.root("POST", "/api/v1/namespaces/default/configmaps", big).await;
    server.root("GET", PODS, Value::Null).await;
    let next = tokio::time::timeout(Duration::from_secs(20), batches.recv()).await.unwrap().unwrap();
    assert_eq!((&next["kind"], &next["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    let items = next["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["annotations"]["audit.k8s.io/truncated"], "true");
    assert_eq!((&items[0]["requestObject"], &items[0]["responseObject"]), (&Value::Null, &Value::Null));
    assert_eq!(items[1]["responseObject"]["kind"], "PodList");
    // A stop loses nothing, though the batch is not full.
    server.root("GET", PODS, Value::Null).await;
    server.stop().await;
    let last = tokio::time::timeout(Duration::from_secs(20), batches.recv()).await.unwrap().unwrap();
    assert_eq!(last["items"].as_array().unwrap().len(), 1);
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_mode_serves_nothing_that_cannot_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = audited(dir.path(), "rules:\n- {level: Metadata}", Mode::BlockingStrict);
    // Writes to it fail for want of space, always.
    config.audit.log.as_mut().unwrap().0.path = "/dev/full".into();
    let server = Server::with(config).await;
    let refused = server.by("root", "GET", PODS, &Value::Null).await.expect(500);
    assert_eq!(refused["message"], "Internal error occurred: unable to update the audit log");
    server.stop().await;
}
