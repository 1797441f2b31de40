//! Who is let in, by which credentials.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use serde_json::{Value, json};
use support::people::{ISSUER, pod, server};

const PODS: &str = "/api/v1/namespaces/default/pods";
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn whoami() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_only_health_and_version() {
    let server = server().await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(server.get(path).await.code, 200, "{path}");
    }
    let refused = server.get(PODS).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \
         \"default\""
    );
    assert_eq!(
        server.get("/metrics").await.expect(403)["message"],
        "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
    );
    let bad = server.by("wrong", "GET", PODS, &Value::Null).await.expect(401);
    assert_eq!(bad["message"], "Unauthorized");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_names_its_owner() {
    let server = server().await;
    let me = server.by("alice", "POST", WHOAMI, &whoami()).await.expect(201);
    let user = &me["status"]["userInfo"];
    assert_eq!((&user["username"], &user["uid"]), (&json!("alice"), &json!("2")));
    assert_eq!(user["groups"], json!(["dev", "ops", "system:authenticated"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_needs_permission() {
    let server = server().await;
    let act = |token: &str, user: &str| {
        let bearer = format!("Bearer {token}");
        let (server, user) = (&server, user.to_owned());
        async move {
            let headers = [
                ("Authorization", bearer.as_str()),
                ("Impersonate-User", user.as_str()),
                ("Impersonate-Group", "ops"),
                ("Content-Type", "application/json"),
            ];
            server.request("POST", WHOAMI, &headers, &whoami().to_string()).await
        }
    };
    let me = act("root", "carol").await.expect(201);
    assert_eq!(me["status"]["userInfo"]["username"], "carol");
    assert_eq!(me["status"]["userInfo"]["groups"], json!(["ops", "system:authenticated"]));
    let refused = act("alice", "carol").await.expect(403);
    assert_eq!(
        refused["message"],
        "users \"carol\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the \
         cluster scope"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_lives_as_long_as_its_pod() {
    let server = server().await;
    let made = server.root("POST", PODS, pod("p")).await;
    let uid = &made["metadata"]["uid"];
    let ask =
        |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid});
    let issued =
        server.root("POST", path, ask(json!({"expirationSeconds": 3607, "boundObjectRef": bound}))).await;
    let token = issued["status"]["token"].as_str().unwrap().to_owned();

    let me = server.by(&token, "POST", WHOAMI, &whoami()).await.expect(201);
    let user = &me["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:default");
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));

    let review = |audiences: Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences}})
    };
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let good = server.root("POST", reviews, review(json!([ISSUER]))).await;
    assert_eq!(good["status"]["authenticated"], true);
    let other = server.root("POST", reviews, review(json!(["vault"]))).await;
    assert_eq!(other["status"]["authenticated"], Value::Null);

    let short = server.by("root", "POST", path, &ask(json!({"expirationSeconds": 5}))).await.expect(422);
    assert!(short["message"].as_str().unwrap().contains("may not specify a duration less than 10 minutes"));
    let wrong = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "other"});
    server.by("root", "POST", path, &ask(json!({"boundObjectRef": wrong}))).await.expect(409);

    server.root("DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), Value::Null).await;
    let body = whoami();
    support::people::until(401, || server.by(&token, "POST", WHOAMI, &body)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_publishes_its_keys() {
    let server = server().await;
    let discovery = server.root("GET", "/.well-known/openid-configuration", Value::Null).await;
    assert_eq!(discovery["issuer"], ISSUER);
    assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let keys = server.root("GET", "/openid/v1/jwks", Value::Null).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["use"], &key["alg"]), (&json!("EC"), &json!("sig"), &json!("ES256")));
    assert!(key["d"].is_null(), "no private part");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_tokens_identify_new_nodes() {
    let server = server().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token", "stringData": {"token-id": "abcdef",
        "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:x"}});
    server.root("POST", "/api/v1/namespaces/kube-system/secrets", secret).await;
    let body = whoami();
    let ask = || server.by("abcdef.0123456789abcdef", "POST", WHOAMI, &body);
    let me = support::people::until(201, ask).await.json();
    assert_eq!(me["status"]["userInfo"]["username"], "system:bootstrap:abcdef");
    server.by("abcdef.0123456789abcdee", "POST", WHOAMI, &whoami()).await.expect(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extension_servers_learn_whom_to_believe() {
    let server = server().await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let data = server.root("GET", path, Value::Null).await["data"].clone();
    assert!(data["client-ca-file"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(data["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    assert_eq!(data["requestheader-username-headers"], "[\"X-Remote-User\"]");
    server.stop().await;
}
