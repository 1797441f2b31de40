//! Custom resources from definition to deletion.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use serde_json::{Value, json};
use support::Server;
use support::people::{server, until};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "replicas": {"type": "integer"},
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"],
            "categories": ["all"]},
        "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": schema,
             "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas"}},
             "additionalPrinterColumns": [
                {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1}],
             "selectableFields": [{"jsonPath": ".spec.color"}]},
            {"name": "v1beta1", "served": true, "storage": false,
             "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        ]}})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn defined() -> Server {
    let server = server().await;
    server.root("POST", CRDS, definition()).await;
    until(200, || server.by("root", "GET", WIDGETS, &Value::Null)).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_established_and_discovered() {
    let server = defined().await;
    let crd = server.root("GET", &format!("{CRDS}/widgets.example.com"), Value::Null).await;
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    let reasons: Vec<_> =
        conditions.iter().map(|c| (c["type"].clone(), c["status"].clone(), c["reason"].clone())).collect();
    assert_eq!(
        reasons,
        [
            (json!("NamesAccepted"), json!("True"), json!("NoConflicts")),
            (json!("Established"), json!("True"), json!("InitialNamesAccepted")),
        ]
    );
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "WidgetList");
    let group = server.root("GET", "/apis/example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = server.root("GET", "/apis/example.com/v1", Value::Null).await;
    let names: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    let document = server.root("GET", "/openapi/v3/apis/example.com/v1", Value::Null).await;
    assert!(document.to_string().contains("\"maximum\":10"), "the schema is published");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_defaulted_pruned_and_validated() {
    let server = defined().await;
    let made = server.by("root", "POST", WIDGETS, &widget("w", json!({"size": 3, "junk": 1}))).await;
    assert_eq!(made.header("warning"), Some("299 - \"unknown field \\\"spec.junk\\\"\""));
    let made = made.expect(201);
    assert_eq!(made["spec"], json!({"size": 3, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused =
        server.by("root", "POST", &strict, &widget("x", json!({"size": 3, "junk": 1}))).await.expect(400);
    assert_eq!(
        refused["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.junk\""
    );
    let refused =
        server.by("root", "POST", WIDGETS, &widget("x", json!({"size": 11, "color": "x"}))).await.expect(422);
    assert_eq!(
        refused["message"],
        "Widget.example.com \"x\" is invalid: [spec.size: Invalid value: 11: spec.size in body should be less than or \
         equal to 10, spec.color: Unsupported value: \"x\": supported values: \"blue\", \"red\"]"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_scale_columns_and_selectors() {
    let server = defined().await;
    let path = format!("{WIDGETS}/w");
    server.root("POST", WIDGETS, widget("w", json!({"size": 3, "replicas": 2}))).await;
    server.root("POST", WIDGETS, widget("v", json!({"size": 4, "color": "blue"}))).await;
    let changed =
        server.root("PATCH", &path, json!({"spec": {"size": 5}, "status": {"phase": "Hidden"}})).await;
    assert_eq!((&changed["metadata"]["generation"], &changed["status"]), (&json!(2), &Value::Null));
    let status = json!({"spec": {"size": 9}, "status": {"phase": "Ready"}});
    let changed = server.root("PATCH", &format!("{path}/status"), status).await;
    assert_eq!((&changed["spec"]["size"], &changed["status"]["phase"]), (&json!(5), &json!("Ready")));
    assert_eq!(changed["metadata"]["generation"], 2);
    let scale = server.root("GET", &format!("{path}/scale"), Value::Null).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    server.root("PATCH", &format!("{path}/scale"), json!({"spec": {"replicas": 7}})).await;
    assert_eq!(server.root("GET", &path, Value::Null).await["spec"]["replicas"], 7);
    let blue = server.root("GET", &format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"), Value::Null).await;
    assert_eq!(blue["items"].as_array().unwrap().len(), 1);
    let headers =
        [("Authorization", "Bearer root"), ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = server.request("GET", WIDGETS, &headers, "").await.expect(200);
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(columns, ["Name", "Size", "Color"]);
    assert_eq!(table["rows"][0]["cells"], json!(["v", 4, "blue"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_serves_the_same_object() {
    let server = defined().await;
    server.root("POST", WIDGETS, widget("w", json!({"size": 3}))).await;
    let beta = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let read = server.root("GET", &format!("{beta}/w"), Value::Null).await;
    assert_eq!((&read["apiVersion"], &read["spec"]["size"]), (&json!("example.com/v1beta1"), &json!(3)));
    let list = server.root("GET", beta, Value::Null).await;
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1beta1");
    let other = json!({"apiVersion": "example.com/v1beta1", "kind": "Widget", "metadata": {"name": "b"},
        "spec": {"size": 6}});
    server.root("POST", beta, other).await;
    let read = server.root("GET", &format!("{WIDGETS}/b"), Value::Null).await;
    assert_eq!((&read["apiVersion"], &read["spec"]["size"]), (&json!("example.com/v1"), &json!(6)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_definition_takes_its_objects_along() {
    let server = defined().await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.root("POST", WIDGETS, held).await;
    server.root("POST", WIDGETS, widget("free", json!({"size": 1}))).await;
    let path = format!("{CRDS}/widgets.example.com");
    server.root("DELETE", &path, Value::Null).await;
    until(404, || server.by("root", "GET", WIDGETS_FREE, &Value::Null)).await;
    const WIDGETS_FREE: &str = "/apis/example.com/v1/namespaces/default/widgets/free";
    let still = server.root("GET", &path, Value::Null).await;
    let conditions = still["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "Terminating" && c["status"] == "True"), "{conditions:?}");
    let refused = server.by("root", "POST", WIDGETS, &widget("new", json!({"size": 1}))).await;
    assert_eq!(refused.code, 405, "{}", refused.text());
    let release = json!({"metadata": {"finalizers": null}});
    server.root("PATCH", &format!("{WIDGETS}/held"), release).await;
    until(404, || server.by("root", "GET", &path, &Value::Null)).await;
    until(404, || server.by("root", "GET", WIDGETS, &Value::Null)).await;
    // The same name can come back, and is empty.
    server.root("POST", CRDS, definition()).await;
    let list = until(200, || server.by("root", "GET", WIDGETS, &Value::Null)).await.json();
    assert_eq!(list["items"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_belong_to_the_first_until_it_goes() {
    let server = defined().await;
    let mut rival = definition();
    rival["metadata"]["name"] = json!("gadgets.example.com");
    rival["spec"]["names"] =
        json!({"plural": "gadgets", "singular": "gadget", "kind": "Widget", "listKind": "GadgetList"});
    server.root("POST", CRDS, rival).await;
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    let path = format!("{CRDS}/gadgets.example.com");
    loop {
        let crd = server.root("GET", &path, Value::Null).await;
        let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(names) = conditions.iter().find(|c| c["type"] == "NamesAccepted") {
            assert_eq!((&names["status"], &names["reason"]), (&json!("False"), &json!("KindConflict")));
            assert_eq!(names["message"], "\"Widget\" is already in use");
            break;
        }
        tokio::task::yield_now().await;
    }
    server.by("root", "GET", gadgets, &Value::Null).await.expect(404);
    server.root("DELETE", &format!("{CRDS}/widgets.example.com"), Value::Null).await;
    until(200, || server.by("root", "GET", gadgets, &Value::Null)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_definitions_at_once() {
    let server = server().await;
    let install = (0..100).map(|i| {
        let mut crd = definition();
        let plural = format!("things{i}");
        crd["metadata"]["name"] = json!(format!("{plural}.example.com"));
        crd["spec"]["names"] =
            json!({"plural": plural, "singular": format!("thing{i}"), "kind": format!("Thing{i}")});
        let server = &server;
        async move { server.root("POST", CRDS, crd).await }
    });
    futures::future::join_all(install).await;
    for i in [0, 50, 99] {
        let path = format!("/apis/example.com/v1/things{i}");
        until(200, || server.by("root", "GET", &path, &Value::Null)).await;
    }
    server.stop().await;
}
