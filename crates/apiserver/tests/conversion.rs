//! Custom resources that a webhook converts, over TLS; scale by paths; approval of protected groups.

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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::Server;
use support::people::{server, until};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/example.com/v1/namespaces/default/tabs";
const V2: &str = "/apis/example.com/v2/namespaces/default/tabs";

/// v1 has `hostPort`, v2 has `host` and `port`.
struct Converter(Arc<AtomicUsize>);

fn convert(mut object: Value, to: &str) -> Value {
    if to.ends_with("/v2") {
        let joined = object["spec"]["hostPort"].as_str().unwrap_or("none:0").to_owned();
        let (host, port) = joined.split_once(':').unwrap();
        object["spec"] = json!({"host": host, "port": port});
    } else {
        let (host, port) =
            (object["spec"]["host"].as_str().unwrap(), object["spec"]["port"].as_str().unwrap());
        object["spec"] = json!({"hostPort": format!("{host}:{port}")});
    }
    object["metadata"]["generation"] = json!(99);
    object["apiVersion"] = json!(to);
    object
}

impl Handler for Converter {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let asked = &review["request"];
            let to = asked["desiredAPIVersion"].as_str().unwrap();
            let objects = asked["objects"].as_array().unwrap();
            let mut response = json!({"uid": asked["uid"], "result": {"status": "Success"}});
            if objects.iter().any(|object| object["metadata"]["name"] == "bad") {
                response["result"] = json!({"status": "Failed", "message": "it cannot be said"});
            } else {
                response["convertedObjects"] =
                    objects.iter().map(|object| convert(object.clone(), to)).collect();
                if objects.iter().any(|object| object["metadata"]["name"] == "thief") {
                    response["convertedObjects"][0]["metadata"]["name"] = json!("stolen");
                }
            }
            let answer = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
            http::Response::new(full(answer.to_string()))
        })
    }
}

fn version(name: &str, storage: bool, fields: &[&str]) -> Value {
    let fields: serde_json::Map<String, Value> =
        fields.iter().map(|field| ((*field).to_owned(), json!({"type": "string"}))).collect();
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
        "properties": {"spec": {"type": "object", "properties": fields}}}}})
}

fn definition(port: u16, bundle: &str, storage: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tabs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "tabs", "kind": "Tab"}, "conversion": {"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/convert"), "caBundle": bundle}}},
        "versions": [version("v1", storage == "v1", &["hostPort"]), version("v2", storage == "v2", &["host", "port"])]}})
}

struct Bed {
    server: Server,
    tasks: Tasks,
    calls: Arc<AtomicUsize>,
    definition: Box<dyn Fn(&str) -> Value + Send + Sync>,
}

async fn bed() -> Bed {
    let tasks = Tasks::new();
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certified.cert.pem().into_bytes();
    let pair = tls::KeyPair {
        certificate: certificate.clone(),
        key: certified.signing_key.serialize_pem().into_bytes(),
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Arc::new(tls::server(&pair, None).unwrap());
    let address =
        serve(listener, Some(config), Limits::default(), &tasks, Arc::new(Converter(calls.clone()))).unwrap();
    let bundle = STANDARD.encode(certificate);
    let make = move |storage: &str| definition(address.port(), &bundle, storage);
    let server = server().await;
    server.root("POST", CRDS, make("v1")).await;
    until(200, || server.by("root", "GET", V1, &Value::Null)).await;
    Bed { server, tasks, calls, definition: Box::new(make) }
}

fn tab(name: &str, host_port: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Tab", "metadata": {"name": name}, "spec": {"hostPort": host_port}})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_sees_the_object_its_own_way() {
    let bed = bed().await;
    let made = bed.server.root("POST", V1, tab("a", "localhost:80")).await;
    assert_eq!(bed.calls.load(Ordering::SeqCst), 0, "the storage version needs no conversion");
    let seen = bed.server.root("GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(seen["spec"], json!({"host": "localhost", "port": "80"}));
    assert_eq!(seen["apiVersion"], "example.com/v2");
    assert_eq!(seen["metadata"]["generation"], 1, "metadata is not the webhook's");
    assert_eq!(seen["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    for name in ["b", "c", "d"] {
        let body = json!({"apiVersion": "example.com/v2", "kind": "Tab", "metadata": {"name": name},
            "spec": {"host": name, "port": "1", "junk": "x"}});
        bed.server.root("POST", V2, body).await;
    }
    assert_eq!(
        bed.server.root("GET", &format!("{V1}/b"), Value::Null).await["spec"],
        json!({"hostPort": "b:1"})
    );
    let before = bed.calls.load(Ordering::SeqCst);
    let list = bed.server.root("GET", V2, Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 4);
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["spec"]["host"].is_string()), "{list}");
    assert_eq!(bed.calls.load(Ordering::SeqCst), before + 1, "a list is one review");
    let changed = bed.server.root("PATCH", &format!("{V2}/a"), json!({"spec": {"port": "81"}})).await;
    assert_eq!(changed["spec"], json!({"host": "localhost", "port": "81"}));
    assert_eq!(
        bed.server.root("GET", &format!("{V1}/a"), Value::Null).await["spec"]["hostPort"],
        "localhost:81"
    );
    let path = format!("{V2}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da");
    let watched = bed.server.root("GET", &path, Value::Null).await;
    assert_eq!(watched["object"]["spec"], json!({"host": "localhost", "port": "81"}));
    let gone = bed.server.root("DELETE", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(gone["status"], "Success");
    bed.server.stop().await;
    bed.tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_version_may_change() {
    let bed = bed().await;
    bed.server.root("POST", V1, tab("old", "h:1")).await;
    let path = format!("{CRDS}/tabs.example.com");
    let spec = (bed.definition)("v2")["spec"].clone();
    bed.server.root("PATCH", &path, json!({"spec": spec})).await;
    let stored = async {
        loop {
            let crd = bed.server.root("GET", &path, Value::Null).await;
            if crd["status"]["storedVersions"] == json!(["v1", "v2"]) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stored)
        .await
        .expect("both versions are known to be stored");
    let old = bed.server.root("GET", &format!("{V2}/old"), Value::Null).await;
    assert_eq!(old["spec"], json!({"host": "h", "port": "1"}));
    assert_eq!(
        bed.server.root("GET", &format!("{V1}/old"), Value::Null).await["spec"],
        json!({"hostPort": "h:1"})
    );
    bed.server.root("POST", V1, tab("new", "n:2")).await;
    assert_eq!(
        bed.server.root("GET", &format!("{V1}/new"), Value::Null).await["spec"],
        json!({"hostPort": "n:2"})
    );
    bed.server.stop().await;
    bed.tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_and_identities_kept() {
    let bed = bed().await;
    bed.server.root("POST", V1, tab("bad", "x:1")).await;
    bed.server.root("POST", V1, tab("thief", "x:1")).await;
    let failed = bed.server.by("root", "GET", &format!("{V2}/bad"), &Value::Null).await.expect(500);
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.contains("conversion webhook for example.com/v1, Kind=Tab failed: it cannot be said"),
        "{message}"
    );
    let failed = bed.server.by("root", "GET", &format!("{V2}/thief"), &Value::Null).await.expect(500);
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.contains("invalid converted object at index 0: must have the same name: stolen != thief"),
        "{message}"
    );
    bed.server.root("GET", &format!("{V1}/bad"), Value::Null).await;
    bed.tasks.stop_and_wait(Duration::from_secs(5)).await;
    bed.server.root("DELETE", &format!("{V1}/bad"), Value::Null).await;
    let down = bed.server.by("root", "GET", &format!("{V2}/thief"), &Value::Null).await.expect(500);
    let message = down["message"].as_str().unwrap();
    assert!(message.contains("failed: Post \"https://127.0.0.1:"), "{message}");
    bed.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_is_where_the_definition_says() {
    let server = server().await;
    let integer = json!({"type": "integer"});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "farms.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "farms", "kind": "Farm"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size.wanted",
                "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.picks"}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "object", "properties": {"wanted": integer}}}},
                "status": {"type": "object", "properties": {"size": integer, "picks": {"type": "string"}}}}}}}]}});
    server.root("POST", CRDS, crd).await;
    let farms = "/apis/example.com/v1/namespaces/default/farms";
    until(200, || server.by("root", "GET", farms, &Value::Null)).await;
    let farm = json!({"apiVersion": "example.com/v1", "kind": "Farm", "metadata": {"name": "f"}, "spec": {"size": {"wanted": 3}}});
    server.root("POST", farms, farm).await;
    server
        .root("PATCH", &format!("{farms}/f/status"), json!({"status": {"size": 2, "picks": "app=f"}}))
        .await;
    let path = format!("{farms}/f/scale");
    let scale = server.root("GET", &path, Value::Null).await;
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 3}), &json!({"replicas": 2, "selector": "app=f"}))
    );
    server.root("PATCH", &path, json!({"spec": {"replicas": 5}})).await;
    assert_eq!(
        server.root("GET", &format!("{farms}/f"), Value::Null).await["spec"],
        json!({"size": {"wanted": 5}})
    );
    let bare = json!({"apiVersion": "example.com/v1", "kind": "Farm", "metadata": {"name": "bare"}});
    server.root("POST", farms, bare).await;
    let missing = server.by("root", "GET", &format!("{farms}/bare/scale"), &Value::Null).await.expect(500);
    let message = missing["message"].as_str().unwrap();
    assert!(message.ends_with("the spec replicas field \".spec.size.wanted\" does not exist"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_groups_say_who_approved_them() {
    let server = server().await;
    let mut crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gates.sig.k8s.io", "annotations": {"api-approved.kubernetes.io": "https://example.com/1"}},
        "spec": {"group": "sig.k8s.io", "scope": "Cluster", "names": {"plural": "gates", "kind": "Gate"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    server.root("POST", CRDS, crd.clone()).await;
    crd["metadata"] = json!({"name": "doors.sig.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, mine"}});
    crd["spec"]["names"] = json!({"plural": "doors", "kind": "Door"});
    server.root("POST", CRDS, crd).await;
    for (name, status, reason) in
        [("gates", "True", "ApprovedAnnotation"), ("doors", "False", "UnapprovedAnnotation")]
    {
        let path = format!("{CRDS}/{name}.sig.k8s.io");
        let waiting = async {
            loop {
                let crd = server.root("GET", &path, Value::Null).await;
                let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let found =
                    conditions.into_iter().find(|c| c["type"] == "KubernetesAPIApprovalPolicyConformant");
                if let Some(found) = found {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        let condition =
            tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a condition in time");
        assert_eq!((&condition["status"], &condition["reason"]), (&json!(status), &json!(reason)));
    }
    server.stop().await;
}
