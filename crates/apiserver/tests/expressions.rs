//! Expressions through the public door: rules of custom resources, admission policies, match conditions.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use serde_json::{Value, json};
use support::Server;
use support::people::{server, until};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn definition(spec: &Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": spec},
            "x-kubernetes-validations": [{"rule": "self.metadata.name != 'forbidden'", "message": "bad name"}],
        }}}]}})
}

fn rules() -> Value {
    json!({"type": "object",
    "x-kubernetes-validations": [
        {"rule": "self.replicas <= self.maxReplicas",
         "messageExpression": "'replicas ' + string(self.replicas) + ' > ' + string(self.maxReplicas)"},
        {"rule": "!has(oldSelf.mode) || self.mode == oldSelf.mode", "message": "mode is immutable",
         "fieldPath": ".mode", "reason": "FieldValueForbidden"},
    ],
    "properties": {
        "replicas": {"type": "integer"},
        "maxReplicas": {"type": "integer", "default": 10},
        "mode": {"type": "string", "maxLength": 20},
        "port": {"x-kubernetes-int-or-string": true,
                 "x-kubernetes-validations": [{"rule": "type(self) == int ? self > 0 : self != ''"}]},
        "items": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "maxLength": 10},
                "size": {"type": "integer", "x-kubernetes-validations":
                    [{"rule": "self >= oldSelf", "message": "may not shrink"},
                     {"rule": "self < 100", "message": "too big"}]}}}},
    }})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn put(server: &Server, path: &str, change: impl Fn(&mut Value)) -> support::Answer {
    let mut object = server.root("GET", path, Value::Null).await;
    change(&mut object);
    server.by("root", "PUT", path, &object).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_custom_resources_hold() {
    let server = server().await;
    server.root("POST", CRDS, definition(&rules())).await;
    until(200, || server.by("root", "GET", WIDGETS, &Value::Null)).await;
    let refused =
        server.by("root", "POST", WIDGETS, &widget("forbidden", json!({"replicas": 11, "port": 0}))).await;
    assert_eq!(
        refused.expect(422)["message"],
        "Widget.example.com \"forbidden\" is invalid: [<nil>: Invalid value: \"object\": bad name, spec: Invalid value: \
         \"object\": replicas 11 > 10, spec.port: Invalid value: \"\": failed rule: type(self) == int ? self > 0 : \
         self != '']"
    );
    let refused = server.by("root", "POST", WIDGETS, &widget("w", json!({"maxReplicas": 1}))).await;
    let message = refused.expect(422)["message"].to_string();
    assert!(message.contains("'no such key: replicas' evaluating rule: self.replicas"), "{message}");
    let good = json!({"replicas": 1, "mode": "a", "port": "http", "items": [{"name": "x", "size": 5}]});
    server.root("POST", WIDGETS, widget("w", good)).await;
    let path = format!("{WIDGETS}/w");
    let refused = put(&server, &path, |w| {
        w["spec"]["mode"] = json!("b");
        w["spec"]["items"] = json!([{"name": "y", "size": 1}, {"name": "x", "size": 4}]);
    });
    assert_eq!(
        refused.await.expect(422)["message"],
        "Widget.example.com \"w\" is invalid: [spec.mode: Forbidden: mode is immutable, spec.items[1].size: Invalid \
         value: \"integer\": may not shrink]"
    );
    put(&server, &path, |w| w["spec"]["replicas"] = json!(2)).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_a_rule_is_tolerated_until_it_changes() {
    let server = server().await;
    let loose = json!({"type": "object", "properties": {
        "a": {"type": "string"}, "b": {"type": "string"}, "other": {"type": "integer"}}});
    server.root("POST", CRDS, definition(&loose)).await;
    until(200, || server.by("root", "GET", WIDGETS, &Value::Null)).await;
    server.root("POST", WIDGETS, widget("w", json!({"a": "long", "b": "long"}))).await;
    let strict = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 2},
        "b": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3", "message": "too long"}]},
        "other": {"type": "integer"}}});
    let path = format!("{CRDS}/widgets.example.com");
    put(&server, &path, |crd| {
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = strict.clone();
    })
    .await
    .expect(200);
    let long = widget("x", json!({"a": "long"}));
    until(422, || server.by("root", "POST", WIDGETS, &long)).await;
    let path = format!("{WIDGETS}/w");
    put(&server, &path, |w| w["spec"]["other"] = json!(1)).await.expect(200);
    let refused = put(&server, &path, |w| w["spec"]["b"] = json!("longer")).await.expect(422);
    assert_eq!(
        refused["message"],
        "Widget.example.com \"w\" is invalid: spec.b: Invalid value: \"string\": too long"
    );
    put(&server, &path, |w| w["spec"]["a"] = json!("longer")).await.expect(422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rules_are_refused_when_they_are_written() {
    let server = server().await;
    let spec = json!({"type": "object", "properties": {
        "n": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self.foo"}, {"rule": "self + 1"}, {"rule": " "}, {"rule": "self > 1", "messageExpression": "1"}]},
        "lists": {"type": "array", "items": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}},
        "dear": {"type": "array", "items": {"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]}}}});
    let refused = server.by("root", "POST", CRDS, &definition(&spec)).await.expect(422);
    let causes = refused["details"]["causes"].as_array().unwrap();
    let found = |field: &str, part: &str| {
        let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties";
        let hit =
            |c: &Value| c["field"] == format!("{at}{field}") && c["message"].as_str().unwrap().contains(part);
        assert!(causes.iter().any(hit), "{field} {part} in {causes:#?}");
    };
    let n = "[n].x-kubernetes-validations";
    found(
        &format!("{n}[0].rule"),
        "compilation failed: ERROR: <input>:1:5: type 'int' does not support field selection",
    );
    found(&format!("{n}[1].rule"), "cel expression must evaluate to a bool");
    found(&format!("{n}[2].rule"), "rule is not specified");
    found(&format!("{n}[3].messageExpression"), "messageExpression must evaluate to a string");
    found(
        "[lists].items.x-kubernetes-validations[0].rule",
        "oldSelf cannot be used on the uncorrelatable portion",
    );
    found(
        "[dear].items.x-kubernetes-validations[0].rule",
        "estimated rule cost exceeds budget by factor of more than 100x",
    );
    server.stop().await;
}

fn policy(name: &str, more: &Value) -> Value {
    let mut spec = json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]}]}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn binding(name: &str, policy: &str, actions: &Value, more: &Value) -> Value {
    let mut spec = json!({"policyName": policy, "validationActions": actions});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": spec})
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

async fn install(server: &Server, policy: Value, binding: Value) {
    server.root("POST", &format!("{ADMISSION}/validatingadmissionpolicies"), policy).await;
    server.root("POST", &format!("{ADMISSION}/validatingadmissionpolicybindings"), binding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_deny_and_warn() {
    let server = server().await;
    let spec = json!({
        "variables": [{"name": "size", "expression": "has(object.data) ? object.data.size() : 0"},
                      {"name": "twice", "expression": "variables.size * 2"}],
        "matchConditions": [{"name": "not-free", "expression": "request.operation != 'DELETE' && !request.name.startsWith('free')"}],
        "validations": [
            {"expression": "variables.twice < 4", "messageExpression": "'twice is ' + string(variables.twice)"},
            {"expression": "!has(object.data.bad)", "message": "bad is bad", "reason": "Forbidden"},
            {"expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"},
            {"expression": "namespaceObject.metadata.name == 'default' && request.userInfo.username != ''"}],
        "auditAnnotations": [{"key": "size", "valueExpression": "string(variables.size)"}]});
    install(&server, policy("p", &spec), binding("b", "p", &json!(["Deny"]), &json!({}))).await;
    let two = map("m", &json!({"a": "1", "b": "2"}));
    let dry = format!("{MAPS}?dryRun=All");
    let refused = until(422, || server.by("root", "POST", &dry, &two)).await.json();
    assert_eq!(
        refused["message"],
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: twice is 4"
    );
    assert_eq!(
        (&refused["reason"], &refused["details"]["causes"][0]["message"]),
        (&json!("Invalid"), &json!("twice is 4"))
    );
    let refused = server.by("root", "POST", MAPS, &map("m", &json!({"bad": "1"}))).await.expect(403);
    assert!(refused["message"].as_str().unwrap().ends_with("denied request: bad is bad"), "{refused}");
    let refused = server.by("root", "POST", MAPS, &map("m", &Value::Null)).await;
    let message = refused.expect(422)["message"].to_string();
    assert!(
        message.contains("expression '!has(object.data.bad)' resulted in error: no such key: data"),
        "{message}"
    );
    server.by("root", "POST", MAPS, &map("free", &json!({"a": "1", "b": "2"}))).await.expect(201);
    server.by("root", "POST", MAPS, &map("m", &json!({"a": "1"}))).await.expect(201);
    let path = format!("{ADMISSION}/validatingadmissionpolicybindings/b");
    put(&server, &path, |b| b["spec"]["validationActions"] = json!(["Warn", "Audit"])).await.expect(200);
    let bad = map("w", &json!({"bad": "1"}));
    let answer = until(201, || server.by("root", "POST", &dry, &bad)).await;
    assert_eq!(
        answer.header("warning"),
        Some("299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': bad is bad\"")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_take_parameters_of_any_kind() {
    let server = server().await;
    let limits = json!({"type": "object", "properties": {"most": {"type": "integer"}}});
    server.root("POST", CRDS, definition(&limits)).await;
    until(200, || server.by("root", "GET", WIDGETS, &Value::Null)).await;
    let spec = json!({"paramKind": {"apiVersion": "example.com/v1", "kind": "Widget"},
        "validations": [{"expression": "object.data.size() <= params.spec.most"}]});
    let reference = |more: Value| json!({"paramRef": more});
    install(
        &server,
        policy("p", &spec),
        binding(
            "b",
            "p",
            &json!(["Deny"]),
            &reference(json!({"name": "limit", "parameterNotFoundAction": "Deny"})),
        ),
    )
    .await;
    let dry = format!("{MAPS}?dryRun=All");
    let two = map("m", &json!({"a": "1", "b": "2"}));
    let refused = until(422, || server.by("root", "POST", &dry, &two)).await.json();
    assert_eq!(
        refused["message"],
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to \
         configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    let mut limit = widget("limit", json!({"most": 2}));
    limit["metadata"]["labels"] = json!({"kind": "limit"});
    server.root("POST", WIDGETS, limit).await;
    until(201, || server.by("root", "POST", &dry, &two)).await;
    let mut lower = widget("lower", json!({"most": 1}));
    lower["metadata"]["labels"] = json!({"kind": "limit"});
    server.root("POST", WIDGETS, lower).await;
    let path = format!("{ADMISSION}/validatingadmissionpolicybindings/b");
    let selector = json!({"selector": {"matchLabels": {"kind": "limit"}}, "parameterNotFoundAction": "Deny"});
    put(&server, &path, |b| b["spec"]["paramRef"] = selector.clone()).await.expect(200);
    let refused = until(422, || server.by("root", "POST", &dry, &two)).await.json();
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.ends_with("denied request: failed expression: object.data.size() <= params.spec.most"),
        "{message}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_policies_are_refused_when_they_are_written() {
    let server = server().await;
    let path = format!("{ADMISSION}/validatingadmissionpolicies");
    let spec = json!({
        "matchConditions": [{"name": "a", "expression": "1"}],
        "variables": [{"name": "v", "expression": "variables.later"}, {"name": "later", "expression": "1"}],
        "validations": [{"expression": "object.x +"}, {"expression": "variables.later"}, {"expression": "params.x"},
                        {"expression": "true", "messageExpression": "2"}]});
    let refused = server.by("root", "POST", &path, &policy("p", &spec)).await.expect(422);
    let causes = refused["details"]["causes"].as_array().unwrap();
    for (field, part) in [
        ("spec.matchConditions[0].expression", "must evaluate to bool"),
        ("spec.variables[0].expression", "undeclared reference to 'variables'"),
        ("spec.validations[0].expression", "Syntax error"),
        ("spec.validations[1].expression", "must evaluate to bool"),
        ("spec.validations[2].expression", "undeclared reference to 'params'"),
        ("spec.validations[3].messageExpression", "must evaluate to string"),
    ] {
        let hit = |c: &Value| c["field"] == field && c["message"].as_str().unwrap().contains(part);
        assert!(causes.iter().any(hit), "{field} {part} in {causes:#?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_objects() {
    let server = server().await;
    let constraints = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps", "pods"]}]});
    let made = |name: &str, mutations: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name}, "spec": {"matchConstraints": constraints, "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded", "mutations": mutations,
            "matchConditions": [{"name": "k", "expression": "object.kind == 'ConfigMap' || 'spec' in object"}]}})
    };
    let one = made(
        "one",
        json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{metadata: Object.metadata{labels: Object.metadata.labels{by: has(object.data) ? 'data' : 'none'}}}"}}]),
    );
    let two = made(
        "two",
        json!([{"patchType": "JSONPatch", "jsonPatch": {"expression":
        "has(object.data) ? [] : [JSONPatch{op: 'add', path: '/data', value: {'a': 'x'}}, \
         JSONPatch{op: 'add', path: '/metadata/annotations', value: {'k': 'v'}}, \
         JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('c/d'), value: 'y'}]"}}]),
    );
    for (policy, name) in [(one, "one"), (two, "two")] {
        server.root("POST", &format!("{ADMISSION}/mutatingadmissionpolicies"), policy).await;
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name}});
        server.root("POST", &format!("{ADMISSION}/mutatingadmissionpolicybindings"), binding).await;
    }
    let dry = format!("{MAPS}?dryRun=All");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    loop {
        let made = server.by("root", "POST", &dry, &body).await.expect(201);
        // The first runs again, because the second gave it the data that it looks for.
        if made["data"] == json!({"a": "x"}) && made["metadata"]["labels"]["by"] == "data" {
            assert_eq!(made["metadata"]["annotations"], json!({"k": "v", "c/d": "y"}));
            break;
        }
        tokio::task::yield_now().await;
    }
    let bad = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "1"}}]);
    let path = format!("{ADMISSION}/mutatingadmissionpolicies");
    let refused = server.by("root", "POST", &path, &made("bad", bad)).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("must evaluate to Object"), "{refused}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn match_conditions_spare_webhooks() {
    let server = server().await;
    let hook = |expression: &str| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "w"}, "webhooks": [{
            "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1,
            "matchConditions": [{"name": "only", "expression": expression}],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}]})
    };
    let path = format!("{ADMISSION}/validatingwebhookconfigurations");
    let refused = server.by("root", "POST", &path, &hook("object.")).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("webhooks[0].matchConditions[0].expression"),
        "{refused}"
    );
    server.root("POST", &path, hook("object.metadata.name == 'seen' || object.data.x == 'y'")).await;
    let dry = format!("{MAPS}?dryRun=All");
    let seen = map("seen", &json!({}));
    until(500, || server.by("root", "POST", &dry, &seen)).await;
    server.by("root", "POST", &dry, &map("spared", &json!({"x": "z"}))).await.expect(201);
    let refused = server.by("root", "POST", &dry, &map("odd", &json!({"z": "z"}))).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with("expression 'only' resulted in error: no such key: x"), "{message}");
    server.stop().await;
}
