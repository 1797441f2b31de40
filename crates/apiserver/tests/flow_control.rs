//! API priority and fairness: the default objects, what responses say, and one tenant's flood beside another tenant.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::{Config, FlowControlSettings};
use component::serve::{Handler, Limits, Request, Response, full, serve};
use component::{Tasks, tls};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::Server;
use support::people::{self, until};

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SCHEMA_UID: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL_UID: &str = "x-kubernetes-pf-prioritylevel-uid";

/// Lets `alice` and `bob` do as they like.
async fn allow(server: &Server) {
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "all"}, "subjects": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    until(200, || server.by("alice", "GET", MAPS, &Value::Null)).await;
}

async fn uid(server: &Server, kind: &str, name: &str) -> String {
    let object = server.root("GET", &format!("{FLOW}/{kind}/{name}"), Value::Null).await;
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_name_schema_and_level() {
    let server = people::server().await;
    let rows = [
        ("root", "GET", MAPS, "exempt", "exempt"),
        ("alice", "GET", MAPS, "global-default", "global-default"),
        ("alice", "GET", "/healthz", "probes", "exempt"),
        ("n1", "PATCH", "/api/v1/nodes/n1/status", "system-node-high", "node-high"),
        ("n1", "GET", "/api/v1/nodes/n1", "system-node-high", "node-high"),
        ("n1", "GET", "/api/v1/namespaces/default/secrets/s", "system-nodes", "system"),
    ];
    for (who, method, path, schema, level) in rows {
        let expected = (
            uid(&server, "flowschemas", schema).await,
            uid(&server, "prioritylevelconfigurations", level).await,
        );
        let mut answer = server.by(who, method, path, &json!({})).await;
        // The objects are followed, so the first answers may come before they are known.
        while answer.header(SCHEMA_UID) != Some(&expected.0) {
            tokio::task::yield_now().await;
            answer = server.by(who, method, path, &json!({})).await;
            assert!(
                answer.header(SCHEMA_UID).is_none_or(|found| found == expected.0),
                "{who} {path}: {answer:?}"
            );
        }
        assert_eq!(answer.header(LEVEL_UID), Some(expected.1.as_str()), "{who} {path}");
    }
    let metrics = server.by("root", "GET", "/metrics", &Value::Null).await.text();
    for line in [
        "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"global-default\",priority_level=\"global-default\"}",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"} 245",
        "apiserver_flowcontrol_current_executing_requests{flow_schema=\"exempt\",priority_level=\"exempt\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let dump =
        server.by("root", "GET", "/debug/api_priority_and_fairness/dump_priority_levels", &Value::Null).await;
    assert!(dump.text().starts_with("PriorityLevelName,"), "{}", dump.text());
    assert!(dump.text().contains("workload-high,"));
    let queues =
        server.by("root", "GET", "/debug/api_priority_and_fairness/dump_queues", &Value::Null).await.text();
    assert_eq!(queues.lines().filter(|line| line.starts_with("leader-election,")).count(), 16);
    server
        .by("alice", "GET", "/debug/api_priority_and_fairness/dump_requests", &Value::Null)
        .await
        .expect(403);
    server.stop().await;
}

fn condition(schema: &Value) -> (String, String, String) {
    let found = schema["status"]["conditions"][0].clone();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Reads until `settled` says so.
async fn read_until(server: &Server, path: &str, settled: impl Fn(&Value) -> bool) -> Value {
    let reading = async {
        loop {
            let answer = server.by("root", "GET", path, &Value::Null).await;
            if answer.code == 200 && settled(&answer.json()) {
                return answer.json();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the expected state in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn default_objects_are_kept() {
    let server = people::server().await;
    // Mandatory: put right again, whatever anyone says.
    let catch_all = format!("{FLOW}/prioritylevelconfigurations/catch-all");
    let changed = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {"limited": {"nominalConcurrencyShares": 77}}});
    server.root("PATCH", &catch_all, changed).await;
    let right = |level: &Value| {
        level["spec"]["limited"]["nominalConcurrencyShares"] == 5
            && level["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] == "true"
    };
    read_until(&server, &catch_all, right).await;
    // Suggested: an administrator's change stays once the annotation says so; a deleted one comes back.
    let low = format!("{FLOW}/prioritylevelconfigurations/workload-low");
    let changed = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {"limited": {"nominalConcurrencyShares": 7}}});
    server.root("PATCH", &low, changed).await;
    server.root("DELETE", &format!("{FLOW}/flowschemas/probes"), Value::Null).await;
    read_until(&server, &format!("{FLOW}/flowschemas/probes"), |_| true).await;
    let low = server.root("GET", &low, Value::Null).await;
    assert_eq!(low["spec"]["limited"]["nominalConcurrencyShares"], 7);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_its_level_dangles_and_is_passed_over() {
    let server = people::server().await;
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": "mine"}, "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": "mine"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "bob"}}], "resourceRules": [{"verbs": ["*"],
            "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}});
    let made = server.root("POST", &format!("{FLOW}/flowschemas"), schema).await;
    let path = format!("{FLOW}/flowschemas/mine");
    let dangling = read_until(&server, &path, |schema| condition(schema).0 == "True").await;
    assert_eq!(
        condition(&dangling),
        (
            "True".to_owned(),
            "NotFound".to_owned(),
            "This FlowSchema references the PriorityLevelConfiguration object named \"mine\" but there is no such object"
                .to_owned()
        )
    );
    let mine = made["metadata"]["uid"].as_str().unwrap();
    assert_ne!(server.by("bob", "GET", MAPS, &Value::Null).await.header(SCHEMA_UID), Some(mine));
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    server.root("POST", &format!("{FLOW}/prioritylevelconfigurations"), level).await;
    let found = read_until(&server, &path, |schema| condition(schema).0 == "False").await;
    assert_eq!(condition(&found).1, "Found");
    assert_eq!(server.by("bob", "GET", MAPS, &Value::Null).await.header(SCHEMA_UID), Some(mine));
    server.stop().await;
}

/// Answers each review after a while.
struct Slow(Arc<AtomicUsize>);

impl Handler for Slow {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                "response": {"uid": asked["request"]["uid"], "allowed": true}});
            http::Response::new(full(review.to_string()))
        })
    }
}

async fn slow_writes(server: &Server, tasks: &Tasks) -> Arc<AtomicUsize> {
    use base64::Engine;
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certified.cert.pem().into_bytes();
    let pair = tls::KeyPair {
        certificate: certificate.clone(),
        key: certified.signing_key.serialize_pem().into_bytes(),
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Arc::new(tls::server(&pair, None).unwrap());
    let place =
        serve(listener, Some(config), Limits::default(), tasks, Arc::new(Slow(calls.clone()))).unwrap();
    let bundle = base64::engine::general_purpose::STANDARD.encode(certificate);
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "slow"}, "webhooks": [{"name": "slow.example.com", "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://127.0.0.1:{}/", place.port()), "caBundle": bundle},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}]});
    server.root("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", hook).await;
    calls
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_flood_leaves_another_its_answers() {
    let tasks = Tasks::new();
    // 40 seats in all, of which `global-default` has 4 by its shares and may borrow more.
    let settings = FlowControlSettings { enabled: true, max_requests: 30, max_mutating_requests: 10 };
    let server = Server::with(Config { flow_control: settings, ..people::config() }).await;
    allow(&server).await;
    let calls = slow_writes(&server, &tasks).await;
    let slow = map("flood-");
    // Until the webhook is asked, the flood would be no burden.
    while calls.load(Ordering::SeqCst) == 0 {
        server.by("root", "POST", MAPS, &slow).await;
    }
    let calm = map("calm-");
    let flood = async {
        let mut codes = Vec::new();
        let mut running: FuturesUnordered<_> =
            (0..60).map(|_| server.by("alice", "POST", MAPS, &slow)).collect();
        let mut sent = 60;
        while let Some(answer) = running.next().await {
            codes.push(answer.code);
            if sent < 300 {
                running.push(server.by("alice", "POST", MAPS, &slow));
                sent += 1;
            }
        }
        codes
    };
    let quiet = async {
        let mut codes = Vec::new();
        for _ in 0..15 {
            codes.push(server.by("bob", "POST", MAPS, &calm).await.code);
        }
        codes
    };
    let (flood, quiet) = tokio::join!(flood, quiet);
    assert!(quiet.iter().all(|code| *code == 201), "{quiet:?}");
    assert!(flood.contains(&201), "{flood:?}");
    let metrics = server.by("root", "GET", "/metrics", &Value::Null).await.text();
    let waited = metrics
        .lines()
        .find(|line| line.starts_with("apiserver_flowcontrol_request_queue_length_after_enqueue_count{flow_schema=\"global-default\""))
        .and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(waited.unwrap() > 50, "the flood had to queue: {waited:?}");
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_refuses_says_when_to_come_back() {
    let tasks = Tasks::new();
    let settings = FlowControlSettings { enabled: false, max_requests: 30, max_mutating_requests: 2 };
    let server = Server::with(Config { flow_control: settings, ..people::config() }).await;
    allow(&server).await;
    let calls = slow_writes(&server, &tasks).await;
    let slow = map("m-");
    while calls.load(Ordering::SeqCst) == 0 {
        server.by("root", "POST", MAPS, &slow).await;
    }
    let answers = futures::future::join_all((0..12).map(|_| server.by("alice", "POST", MAPS, &slow))).await;
    let refused = answers.iter().find(|answer| answer.code == 429).expect("too many writes");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.text(), "Too many requests, please try again later.\n");
    assert!(answers.iter().any(|answer| answer.code == 201));
    assert_eq!(refused.header(SCHEMA_UID), None, "nothing is classified");
    server.by("root", "POST", MAPS, &slow).await.expect(201);
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}
