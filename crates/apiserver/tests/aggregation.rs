//! API aggregation: an API server of our own in this process, behind a Service, over TLS, with delegated
//! authentication and authorization.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::Config;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::serve::{ConnInfo, Handler, Limits, Request, Response, full, serve};
use component::{Tasks, tls};
use futures::future::BoxFuture;
use machinery::GroupResource;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Op, Txn};
use support::people::{self, until};
use support::{Answer, Server, request as send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const MINE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.ext.example.com";
const THINGS: &str = "/apis/ext.example.com/v1/namespaces/default/things";

/// The extension API server.
struct Extension {
    main: SocketAddr,
    tasks: Tasks,
}

fn code(code: u16, body: &Value) -> Response {
    http::Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(full(body.to_string()))
        .unwrap()
}

fn values(request: &Request, name: &str) -> Vec<String> {
    request.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

impl Extension {
    async fn ask(main: SocketAddr, path: &str, body: &Value) -> Value {
        let headers = [("Authorization", "Bearer root"), ("Content-Type", "application/json")];
        send(main, "POST", path, &headers, &body.to_string()).await.expect(201)
    }

    /// Who asks: whom the front proxy names, or whose token it is.
    async fn user(main: SocketAddr, request: &Request) -> Option<(String, Vec<String>)> {
        let connection = request.extensions().get::<Arc<ConnInfo>>().cloned().unwrap();
        if let (false, Some(user)) =
            (connection.client_certificates.is_empty(), values(request, "x-remote-user").first())
        {
            assert!(!request.headers().contains_key("authorization"), "credentials stay behind");
            return Some((user.clone(), values(request, "x-remote-group")));
        }
        let token = values(request, "authorization").first()?.strip_prefix("Bearer ")?.to_owned();
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let seen = Self::ask(main, "/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
        let user = seen["status"]["user"]["username"].as_str()?.to_owned();
        let groups = seen["status"]["user"]["groups"].as_array().cloned().unwrap_or_default();
        Some((user, groups.iter().filter_map(|g| g.as_str().map(str::to_owned)).collect()))
    }

    async fn answer(main: SocketAddr, tasks: Tasks, mut request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let Some((user, groups)) = Self::user(main, &request).await else {
            return code(
                401,
                &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401}),
            );
        };
        match path.as_str() {
            "/apis/ext.example.com/v1" => {
                let verbs = ["get", "list", "watch"];
                let things = json!({"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing",
                    "verbs": verbs, "shortNames": ["th"]});
                return code(
                    200,
                    &json!({"kind": "APIResourceList", "apiVersion": "v1",
                    "groupVersion": "ext.example.com/v1", "resources": [things]}),
                );
            }
            "/openapi/v2" => {
                return code(
                    200,
                    &json!({"swagger": "2.0", "paths": {"/apis/ext.example.com/v1/": {}},
                    "definitions": {"com.example.ext.v1.Thing": {"type": "object"}}}),
                );
            }
            "/openapi/v3" => {
                let at = json!({"serverRelativeURL": "/openapi/v3/apis/ext.example.com/v1?hash=ABC"});
                return code(200, &json!({"paths": {"apis/ext.example.com/v1": at}}));
            }
            "/openapi/v3/apis/ext.example.com/v1" => {
                return code(200, &json!({"openapi": "3.0.0", "info": {"title": "Things"}}));
            }
            path if !path.starts_with(THINGS) => return code(404, &json!({"kind": "Status", "code": 404})),
            _ => {}
        }
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": user,
            "groups": groups, "resourceAttributes": {"group": "ext.example.com", "resource": "things", "verb": "list",
            "namespace": "default"}}});
        let review = Self::ask(main, "/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        if review["status"]["allowed"] != true {
            return code(403, &json!({"kind": "Status", "code": 403, "message": "not here"}));
        }
        if path.ends_with("/closed") {
            return code(403, &json!({"kind": "Status", "code": 403, "message": "no streams here"}));
        }
        if path.ends_with("/moved") {
            let to = "http://169.254.169.254/latest/meta-data";
            return http::Response::builder().status(302).header("location", to).body(full("")).unwrap();
        }
        if path.ends_with("/stream") {
            let upgraded = hyper::upgrade::on(&mut request);
            tasks.spawn_until_stopped("echo", async move {
                let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
                let mut buffer = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..n]).await.unwrap();
                }
            });
            let answer = http::Response::builder()
                .status(101)
                .header("upgrade", "echo")
                .header("connection", "Upgrade");
            return answer.body(full("")).unwrap();
        }
        let mut headers = json!({});
        for name in request
            .headers()
            .keys()
            .filter(|name| name.as_str().starts_with("x-remote") || name.as_str().starts_with("impersonate"))
        {
            headers[name.as_str()] = json!(values(&request, name.as_str()));
        }
        let uri = request.uri().to_string();
        code(
            200,
            &json!({"kind": "ThingList", "apiVersion": "ext.example.com/v1", "items": [], "uri": uri, "headers": headers}),
        )
    }
}

impl Handler for Extension {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        Box::pin(Self::answer(self.main, self.tasks.clone(), request))
    }
}

struct Bed {
    server: Server,
    tasks: Tasks,
    bundle: String,
    port: u16,
}

/// A main server with a front-proxy authority, and an extension server that trusts what the main server publishes.
async fn bed() -> Bed {
    let tasks = Tasks::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let front_ca = params.self_signed(&key).unwrap().pem().into_bytes();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "front-proxy-client");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap().pem().into_bytes();
    let pair = tls::KeyPair { certificate, key: key.serialize_pem().into_bytes() };
    let config =
        Config { front_proxy_ca: Some(front_ca), front_proxy_client: Some(pair), ..people::config() };
    let server = Server::with(config).await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let trust = server.root("GET", path, Value::Null).await;
    assert_eq!(trust["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    let ca = trust["data"]["requestheader-client-ca-file"].as_str().unwrap().as_bytes().to_vec();
    let own = rcgen::generate_simple_self_signed(vec!["ext.default.svc".to_owned()]).unwrap();
    let certificate = own.cert.pem().into_bytes();
    let pair =
        tls::KeyPair { certificate: certificate.clone(), key: own.signing_key.serialize_pem().into_bytes() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Arc::new(tls::server(&pair, Some(&ca)).unwrap());
    let extension = Extension { main: server.address, tasks: tasks.clone() };
    let address = serve(listener, Some(config), Limits::default(), &tasks, Arc::new(extension)).unwrap();
    Bed { server, tasks, bundle: STANDARD.encode(certificate), port: address.port() }
}

impl Bed {
    async fn register(&self) {
        let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.ext.example.com"}, "spec": {"group": "ext.example.com", "version": "v1",
            "groupPriorityMinimum": 16950, "versionPriority": 10, "caBundle": self.bundle,
            "service": {"namespace": "default", "name": "ext"}}});
        self.server.root("POST", SERVICES, service).await;
    }

    async fn service(&self) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ext"},
            "spec": {"ports": [{"port": 443}]}});
        self.server.root("POST", "/api/v1/namespaces/default/services", service).await;
    }

    /// Everything, until it is available.
    async fn set_up(&self) {
        self.service().await;
        self.endpoints().await;
        self.register().await;
        self.available("Passed").await;
    }

    /// Endpoints on loopback are refused by the API, so they are put into the store.
    async fn endpoints(&self) {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "ext-1", "namespace": "default", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"kubernetes.io/service-name": "ext"}},
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "", "port": self.port, "protocol": "TCP"}]});
        let storage = GroupResource::new("discovery.k8s.io", "endpointslices");
        let key = apiserver::storage::key(&storage, "default", "ext-1");
        let put = Op::Put { key, value: slice.to_string().into(), lease: 0 };
        let txn = Txn { compares: Vec::new(), success: vec![put], failure: Vec::new() };
        self.server.api.registry().feed().store().txn(txn).await.unwrap();
    }

    async fn available(&self, reason: &str) -> Value {
        let waiting = async {
            loop {
                let object = self.server.root("GET", MINE, Value::Null).await;
                let condition = object["status"]["conditions"][0].clone();
                if condition["reason"] == reason {
                    return condition;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("{reason} in time"))
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.server.by(who, "GET", path, &Value::Null).await
    }

    async fn stop(self) {
        self.server.stop().await;
        self.tasks.stop_and_wait(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_follows_service_endpoints_and_answers() {
    let bed = bed().await;
    bed.register().await;
    let condition = bed.available("ServiceNotFound").await;
    assert_eq!(condition["message"], "service/ext in \"default\" is not present");
    assert_eq!(condition["status"], "False");
    bed.service().await;
    let condition = bed.available("EndpointsNotFound").await;
    assert_eq!(condition["message"], "cannot find endpointslices for service/ext in \"default\"");
    let answer = bed.get("root", THINGS).await;
    assert_eq!((answer.code, answer.text().as_str()), (503, "service unavailable\n"));
    bed.endpoints().await;
    let condition = bed.available("Passed").await;
    assert_eq!((&condition["status"], &condition["message"]), (&json!("True"), &json!("all checks passed")));
    // A bundle that did not sign the certificate.
    let bundle =
        STANDARD.encode(rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem());
    bed.server.root("PATCH", MINE, json!({"spec": {"caBundle": bundle}})).await;
    let condition = bed.available("FailedDiscoveryCheck").await;
    let message = condition["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "failing or missing response from https://ext.default.svc:443/apis/ext.example.com/v1: "
        ),
        "{message}"
    );
    bed.server.root("PATCH", MINE, json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}})).await;
    bed.available("Passed").await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_travel_with_their_user_and_nothing_else() {
    let bed = bed().await;
    bed.set_up().await;
    let headers = [
        ("Authorization", "Bearer root"),
        ("X-Remote-User", "mallory"),
        ("X-Remote-Group", "system:masters"),
        ("X-Remote-Extra-Scope", "all"),
        ("Impersonate-User", "alice"),
        ("Impersonate-Extra-Example.com%2Fscope", "one"),
    ];
    let path = format!("{THINGS}?labelSelector=a%3Db");
    let refused = bed.server.request("GET", &path, &headers, "").await;
    assert_eq!(refused.code, 403, "alice may do nothing here: {}", refused.text());
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "things"},
        "rules": [{"apiGroups": ["ext.example.com"], "resources": ["*"], "verbs": ["*"]}]});
    bed.server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "things"}, "subjects": [{"kind": "User", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "things"}});
    bed.server.root("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let seen = until(200, || bed.server.request("GET", &path, &headers, "")).await.json();
    assert_eq!(seen["uri"], path);
    assert_eq!(
        seen["headers"],
        json!({"x-remote-user": ["alice"], "x-remote-group": ["system:authenticated"],
            "x-remote-extra-example.com%2fscope": ["one"]})
    );
    // Who asks the extension server directly is who their token says.
    bed.get("bob", THINGS).await.expect(403);
    // Redirects are neither followed nor passed on.
    let moved = bed.get("alice", &format!("{THINGS}/moved")).await;
    assert_eq!(moved.header("location"), None);
    let moved = moved.expect(502);
    assert_eq!(moved["message"], "the backend attempted to redirect this request, which is not permitted");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_pipes_and_failed_ones_end_the_connection() {
    let bed = bed().await;
    bed.set_up().await;
    let upgrade = |what: &str| {
        format!(
            "GET {THINGS}/{what} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer root\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(bed.server.address).await.unwrap();
    stream.write_all(upgrade("stream").as_bytes()).await.unwrap();
    let mut buffer = [0; 2048];
    let read = stream.read(&mut buffer).await.unwrap();
    let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"ping").await.unwrap();
    let read = stream.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..read], b"ping");
    // CVE-2018-1002105: after a refused upgrade nothing more may reach the remote server over this connection.
    let mut stream = TcpStream::connect(bed.server.address).await.unwrap();
    let smuggled = format!(
        "GET {THINGS} HTTP/1.1\r\nHost: h\r\nX-Remote-User: root\r\nX-Remote-Group: system:masters\r\n\r\n"
    );
    stream.write_all((upgrade("closed") + &smuggled).as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await;
    // A reset is an end, too.
    drop(ended.expect("the connection ends"));
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_openapi_show_remote_groups_among_ours() {
    let bed = bed().await;
    bed.set_up().await;
    let groups = bed.get("root", "/apis").await.expect(200);
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
    let at = |name: &str| {
        names.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{name} in {names:?}"))
    };
    assert!(at("rbac.authorization.k8s.io") < at("ext.example.com"), "{names:?}");
    assert!(at("ext.example.com") < at("storage.k8s.io"), "{names:?}");
    let group = bed.get("root", "/apis/ext.example.com").await.expect(200);
    assert_eq!(group["preferredVersion"], json!({"groupVersion": "ext.example.com/v1", "version": "v1"}));
    assert_eq!(group["kind"], "APIGroup");
    let headers = [
        ("Authorization", "Bearer root"),
        ("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    ];
    let all = bed.server.request("GET", "/apis", &headers, "").await.expect(200);
    let ours =
        all["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "ext.example.com").unwrap();
    let version = &ours["versions"][0];
    assert_eq!((&version["version"], &version["freshness"]), (&json!("v1"), &json!("Current")));
    assert_eq!(version["resources"][0]["resource"], "things");
    assert_eq!(version["resources"][0]["scope"], "Namespaced");
    assert_eq!(version["resources"][0]["shortNames"], json!(["th"]));
    let index = bed.get("root", "/openapi/v3").await.expect(200);
    assert_eq!(
        index["paths"]["apis/ext.example.com/v1"]["serverRelativeURL"],
        "/openapi/v3/apis/ext.example.com/v1?hash=ABC"
    );
    let document = bed.get("root", "/openapi/v3/apis/ext.example.com/v1?hash=ABC").await.expect(200);
    assert_eq!(document["info"]["title"], "Things");
    let swagger = bed.get("root", "/openapi/v2").await.expect(200);
    assert!(swagger["definitions"]["com.example.ext.v1.Thing"].is_object());
    assert!(swagger["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    // A server that goes away stays in discovery, marked.
    bed.server.root("DELETE", "/api/v1/namespaces/default/services/ext", Value::Null).await;
    bed.available("ServiceNotFound").await;
    let all = bed.server.request("GET", "/apis", &headers, "").await.expect(200);
    let ours =
        all["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "ext.example.com").unwrap();
    assert_eq!(ours["versions"][0]["freshness"], "Stale");
    bed.server.root("DELETE", MINE, Value::Null).await;
    until(404, || bed.get("root", "/apis/ext.example.com")).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_groups_have_api_services() {
    let server = people::server().await;
    let path = format!("{SERVICES}/v1.apps");
    let apps = until(200, || server.by("root", "GET", &path, &Value::Null)).await.json();
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    let spec =
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15});
    assert_eq!(apps["spec"], spec);
    let core = format!("{SERVICES}/v1.");
    until(200, || server.by("root", "GET", &core, &Value::Null)).await;
    let waiting = async {
        loop {
            let apps = server.root("GET", &path, Value::Null).await;
            if apps["status"]["conditions"][0]["reason"] == "Local" {
                return apps["status"]["conditions"][0].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let condition =
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a condition in time");
    assert_eq!(condition["message"], "Local APIServices are always available");
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gizmos.example.org"}, "spec": {"group": "example.org", "scope": "Cluster",
        "names": {"plural": "gizmos", "kind": "Gizmo"}, "versions": [{"name": "v2", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    server.root("POST", crds, crd).await;
    let path = format!("{SERVICES}/v2.example.org");
    let custom = until(200, || server.by("root", "GET", &path, &Value::Null)).await.json();
    assert_eq!(
        (&custom["spec"]["groupPriorityMinimum"], &custom["spec"]["versionPriority"]),
        (&json!(1000), &json!(100))
    );
    assert_eq!(custom["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    server.root("DELETE", &format!("{crds}/gizmos.example.org"), Value::Null).await;
    until(404, || server.by("root", "GET", &path, &Value::Null)).await;
    server.stop().await;
}
