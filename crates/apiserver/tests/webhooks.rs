//! Admission webhooks over TLS: they change, refuse, warn, and may be down.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::serve::{Handler, Limits, Request, Response, full, serve};
use component::{Tasks, tls};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use support::people::{server, until};

/// Marks every ConfigMap and refuses those called `bad`.
struct Hook;

impl Handler for Hook {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let path = request.uri().to_string();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let asked = &asked["request"];
            let mut response = json!({"uid": asked["uid"], "allowed": true});
            if path == "/mutate?timeout=10s" {
                let who = asked["userInfo"]["username"].as_str().unwrap();
                let patch = json!([{"op": "add", "path": "/data", "value": {"by": who}}]).to_string();
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(STANDARD.encode(patch));
            } else if asked["name"] == "bad" {
                response["allowed"] = json!(false);
                response["status"] = json!({"message": "it is bad", "code": 403, "reason": "Forbidden"});
            } else {
                let by = asked["object"]["data"]["by"].as_str().unwrap_or("nobody").to_owned();
                response["warnings"] = json!([format!("changed by {by}")]);
            }
            let review =
                json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
            http::Response::new(full(review.to_string()))
        })
    }
}

struct Place {
    port: u16,
    bundle: String,
}

fn start(tasks: &Tasks) -> Place {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certified.cert.pem().into_bytes();
    let pair = tls::KeyPair {
        certificate: certificate.clone(),
        key: certified.signing_key.serialize_pem().into_bytes(),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Arc::new(tls::server(&pair, None).unwrap());
    let address = serve(listener, Some(config), Limits::default(), tasks, Arc::new(Hook)).unwrap();
    Place { port: address.port(), bundle: STANDARD.encode(certificate) }
}

fn configuration(kind: &str, place: &Place, path: &str, policy: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "w"}, "webhooks": [{
        "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": policy,
        "clientConfig": {"url": format!("https://127.0.0.1:{}/{path}", place.port), "caBundle": place.bundle},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]}}]})
}

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
}

async fn stop(server: Server, tasks: Tasks) {
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_refuse_and_warn() {
    let tasks = Tasks::new();
    let (server, place) = (server().await, start(&tasks));
    let mutating = configuration("MutatingWebhookConfiguration", &place, "mutate", "Fail");
    server.root("POST", &format!("{HOOKS}/mutatingwebhookconfigurations"), mutating).await;
    let validating = configuration("ValidatingWebhookConfiguration", &place, "validate", "Fail");
    server.root("POST", &format!("{HOOKS}/validatingwebhookconfigurations"), validating).await;
    let bad = map("bad", json!({}));
    let refused = until(403, || server.by("root", "POST", MAPS, &bad)).await.json();
    assert_eq!(refused["message"], "admission webhook \"w.example.com\" denied the request: it is bad");
    let made = server.by("root", "POST", MAPS, &map("good", json!({}))).await;
    assert_eq!(made.expect(201)["data"], json!({"by": "admin"}));
    assert_eq!(made.header("warning"), Some("299 - \"changed by admin\""));
    let free = server.root("POST", MAPS, map("other", json!({"free": "yes"}))).await;
    assert_eq!(free["data"], Value::Null, "the selector leaves it alone");
    stop(server, tasks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_down_counts_as_its_policy_says() {
    let tasks = Tasks::new();
    let (server, mut place) = (server().await, start(&tasks));
    place.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let all = format!("{HOOKS}/validatingwebhookconfigurations");
    server.root("POST", &all, configuration("ValidatingWebhookConfiguration", &place, "v", "Fail")).await;
    let dry = format!("{MAPS}?dryRun=All");
    let some = map("m", json!({}));
    let failed = until(500, || server.by("root", "POST", &dry, &some)).await.json();
    assert_eq!(
        failed["message"],
        format!(
            "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \
             \"https://127.0.0.1:{0}/v?timeout=10s\": dial tcp 127.0.0.1:{0}: connect: connection refused",
            place.port
        )
    );
    let mut changed = server.root("GET", &format!("{all}/w"), Value::Null).await;
    changed["webhooks"][0]["failurePolicy"] = json!("Ignore");
    server.root("PUT", &format!("{all}/w"), changed).await;
    until(201, || server.by("root", "POST", &dry, &some)).await;
    stop(server, tasks).await;
}
