//! Discovery, version, health and metrics; held against the published documents where they are at hand.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use support::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where the published documents are, if they are.
fn reference() -> Option<PathBuf> {
    let dir = std::env::var_os("WINDLASS_REFERENCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference"),
        PathBuf::from,
    );
    let dir = dir.join("kubernetes-v1.36");
    dir.join("discovery").is_dir().then_some(dir)
}

fn read(path: &str) -> Option<Value> {
    let file = reference()?.join("discovery").join(path);
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Key by key, so that a failure names what differs.
fn differences(found: &Value, wanted: &Value, at: &str, out: &mut Vec<String>) {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for key in found.keys().chain(wanted.keys().filter(|k| !found.contains_key(*k))) {
                let null = Value::Null;
                let (a, b) = (found.get(key).unwrap_or(&null), wanted.get(key).unwrap_or(&null));
                differences(a, b, &format!("{at}.{key}"), out);
            }
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            for (index, (a, b)) in found.iter().zip(wanted).enumerate() {
                let name =
                    b["name"].as_str().or(b["resource"].as_str()).map_or(index.to_string(), str::to_owned);
                differences(a, b, &format!("{at}[{name}]"), out);
            }
        }
        _ if found != wanted => out.push(format!("{at}: {found} instead of {wanted}")),
        _ => {}
    }
}

#[tokio::test]
async fn discovery_is_the_published_one() {
    if reference().is_none() {
        println!("skipped discovery_is_the_published_one: the published documents are not at hand");
        return;
    }
    let server = Server::start().await;
    let groups = server.get("/apis").await.expect(200);
    let mut problems = Vec::new();
    let mut documents = vec![("/api/v1".to_owned(), "api__v1.json".to_owned())];
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        for version in group["versions"].as_array().unwrap() {
            let version = version["version"].as_str().unwrap();
            documents.push((format!("/apis/{name}/{version}"), format!("apis__{name}__{version}.json")));
        }
    }
    assert!(documents.len() > 20);
    for (path, file) in documents {
        let wanted = read(&file).unwrap_or_else(|| panic!("{file} is published"));
        differences(&server.get(&path).await.expect(200), &wanted, &path, &mut problems);
    }
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let found = server.request("GET", "/apis", &[("Accept", accept)], "").await.expect(200);
    let wanted = read("aggregated_v2.json").unwrap();
    // Groups, in the order in which clients prefer them. Some that are published are not served by default.
    let served: Vec<&Value> =
        groups["groups"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
    let names = |list: &Value, key: &str| -> Vec<Value> {
        let names = list.as_array().unwrap().iter().map(|group| group.pointer(key).unwrap());
        names.filter(|name| served.contains(name)).cloned().collect()
    };
    let published = read("apis.json").unwrap();
    assert_eq!(names(&groups["groups"], "/name"), names(&published["groups"], "/name"));
    assert_eq!(names(&found["items"], "/metadata/name"), names(&wanted["items"], "/metadata/name"));
    for group in
        published["groups"].as_array().unwrap().iter().filter(|group| served.contains(&&group["name"]))
    {
        let name = group["name"].as_str().unwrap();
        let mut wanted = read(&format!("apis__{name}.json")).unwrap();
        let path = format!("/apis/{name}");
        let found = server.get(&path).await.expect(200);
        let versions = found["versions"].as_array().unwrap();
        wanted["versions"].as_array_mut().unwrap().retain(|version| versions.contains(version));
        differences(&found, &wanted, &path, &mut problems);
    }
    for (key, value) in wanted.as_object().unwrap().iter().filter(|(key, _)| *key != "items") {
        assert_eq!(found[key], *value, "{key}");
    }
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json;q=0.9";
    let older = server.request("GET", "/apis", &[("Accept", accept)], "").await;
    assert!(older.header("content-type").unwrap().contains("v=v2beta1"));
    let older = older.expect(200);
    assert_eq!(
        (&older["apiVersion"], &older["items"]),
        (&json!("apidiscovery.k8s.io/v2beta1"), &found["items"])
    );
    for group in found["items"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let name = &group["metadata"]["name"];
            let wanted = wanted["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == *name);
            let wanted = wanted.unwrap()["versions"].as_array().unwrap();
            let wanted = wanted.iter().find(|v| v["version"] == version["version"]).unwrap();
            differences(version, wanted, &format!("aggregated {name}"), &mut problems);
        }
    }
    // Upstream still stores these as v1beta1, from before v1 existed; here nothing is older than v1.
    let kinds = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "customresourcedefinitions"];
    problems.retain(|p| !kinds.iter().any(|kind| p.contains(&format!("[{kind}].storageVersionHash"))));
    assert!(problems.is_empty(), "{} differences:\n{}", problems.len(), problems.join("\n"));
    server.stop().await;
}

#[tokio::test]
async fn documents_have_tags() {
    let server = Server::start().await;
    let first = server.get("/apis").await;
    let tag = first.header("etag").unwrap().to_owned();
    let again = server.request("GET", "/apis", &[("If-None-Match", &tag)], "").await;
    assert_eq!((again.code, again.body.len()), (304, 0));
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = server.get(url).await;
    assert_eq!(document.header("cache-control"), Some("public, immutable"));
    assert!(document.expect(200)["paths"]["/apis/apps/v1/deployments"].is_object());
    server.stop().await;
}

/// Upstream's handlers of `/openapi` (k8s.io/kube-openapi): media types, tags and addresses with a hash.
#[tokio::test]
async fn openapi_is_negotiated() {
    let server = Server::start().await;
    let get = async |path: &str, accept: &str| server.request("GET", path, &[("Accept", accept)], "").await;
    for (path, old, new) in [
        (
            "/openapi/v2",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        ),
        (
            "/openapi/v3/apis/apps/v1",
            "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
            "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        ),
    ] {
        let json = get(path, "*/*").await;
        assert_eq!((json.code, json.header("content-type")), (200, Some("application/json")));
        let proto = get(path, old).await;
        assert_eq!((proto.code, proto.header("content-type")), (200, Some(new)));
        assert_eq!(get(path, new).await.body, proto.body);
        assert_eq!(json.header("etag"), proto.header("etag"), "the media type is what differs");
        assert!(proto.header("vary").unwrap().contains("Accept"));
        // The paths are there, and what the types are for.
        let contains = |text: &str| proto.body.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(contains("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"));
        assert!(contains("readAppsV1NamespacedDeploymentScale"));
        assert!(contains("PodSpec is a description of a pod."));
        let tag = proto.header("etag").unwrap().to_owned();
        let again = server.request("GET", path, &[("Accept", old), ("If-None-Match", &tag)], "").await;
        assert_eq!((again.code, again.body.len()), (304, 0));
        assert_eq!(get(path, "text/html").await.code, 406);
    }
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = server.get(&url).await;
    assert!(document.header("expires").unwrap().ends_with(" GMT"));
    let plain = server.get("/openapi/v3/apis/apps/v1").await;
    assert_eq!((plain.header("cache-control"), plain.header("expires")), (Some("no-cache, private"), None));
    assert_eq!(plain.body, document.body);
    let old = server.get("/openapi/v3/apis/apps/v1?hash=0123").await;
    assert_eq!((old.code, old.header("location")), (301, Some(url.as_str())));
    assert_eq!(server.get("/openapi/v3/apis/nope/v1").await.code, 404);
    for name in ["logs", "openid/v1/jwks", ".well-known/openid-configuration"] {
        let document = server.get(&format!("/openapi/v3/{name}")).await.expect(200);
        assert_eq!(document["openapi"], "3.0.0", "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_server_says_how_it_is() {
    let server = Server::start().await;
    assert_eq!(server.get("/version").await.expect(200)["gitVersion"], "v1.36.0+windlass");
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        let answer = server.get(path).await;
        assert_eq!((answer.code, answer.text().as_str()), (200, "ok"), "{path}");
    }
    let verbose = server.get("/readyz?verbose&exclude=etcd").await.text();
    assert!(verbose.contains("[+]ping ok") && verbose.contains("[+]etcd excluded: ok"), "{verbose}");
    assert!(verbose.ends_with("readyz check passed\n"), "{verbose}");
    assert!(verbose.contains("[+]poststarthook/rbac/bootstrap-roles ok\n[+]"), "{verbose}");
    let verbose = server.get("/livez?verbose=true&exclude=ping&exclude=log&exclude=b&exclude=a").await.text();
    assert!(verbose.starts_with("[+]ping excluded: ok\n[+]log excluded: ok\n[+]etcd ok\n"), "{verbose}");
    let warning = "warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\n";
    assert!(verbose.contains(warning), "{verbose}");
    assert_eq!(server.get("/livez/poststarthook/rbac/bootstrap-roles").await.text(), "ok");
    assert_eq!(server.get("/healthz/nope").await.code, 404);
    let missing = server.get("/apis/nope.example.com/v1/things").await.expect(404);
    assert_eq!(missing["message"], "the server could not find the requested resource");
    server.get("/api/v1/namespaces").await.expect(200);
    let slis = server.get("/metrics/slis").await.text();
    assert!(slis.contains("kubernetes_healthcheck{name=\"etcd\",type=\"livez\"} 1\n"), "{slis}");
    let paths = server.get("/").await.expect(200);
    assert!(paths["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")));
    server.request("POST", "/version", &[], "").await.expect(405);
    server.stop().await;
}

/// Names and labels that dashboards and alerts for upstream's API server use.
#[tokio::test]
async fn requests_and_watches_are_counted() {
    let server = Server::start().await;
    server.get("/api/v1/namespaces/default").await.expect(200);
    server.get("/api/v1/namespaces/default/pods/none").await.expect(404);
    let mut watch = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = "GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nHost: test\r\n\r\n";
    watch.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"ADDED\"") {
        let read = tokio::time::timeout(Duration::from_secs(20), watch.read_buf(&mut seen)).await;
        assert!(read.expect("an event in time").unwrap() > 0);
    }
    let answer = server.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let value = |name: &str, labels: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{{labels}}} ")));
        let line = line.unwrap_or_else(|| panic!("{name}{{{labels}}} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let of = |resource: &str, scope: &str, verb: &str| {
        format!(
            "group=\"\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"\",verb=\"{verb}\",version=\"v1\""
        )
    };
    let component = "component=\"apiserver\"";
    let found = format!("code=\"200\",{component},dry_run=\"\",{}", of("namespaces", "resource", "GET"));
    assert_eq!(value("apiserver_request_total", &found), 1.0);
    let missing = format!("code=\"404\",{component},dry_run=\"\",{}", of("pods", "resource", "GET"));
    assert_eq!(value("apiserver_request_total", &missing), 1.0);
    let all = format!("{component},dry_run=\"\",{}", of("namespaces", "resource", "GET"));
    assert_eq!(value("apiserver_request_duration_seconds_count", &all), 1.0);
    let running = format!("{component},{}", of("namespaces", "cluster", "WATCH"));
    assert_eq!(value("apiserver_longrunning_requests", &running), 1.0);
    assert!(
        value("apiserver_watch_events_total", "group=\"\",resource=\"namespaces\",version=\"v1\"") >= 1.0
    );
    // Asking for it is the one request that runs.
    assert_eq!(value("apiserver_current_inflight_requests", "request_kind=\"readOnly\""), 1.0);
    assert!(text.contains("\nprocess_resident_memory_bytes ") && text.contains("\nkubernetes_build_info{"));
    server.stop().await;
}

/// KEP-4827 and KEP-4828: text for people, versioned objects on request, for those with `system:monitoring`.
#[tokio::test]
async fn debugging_pages_are_guarded() {
    let server = Server::start().await;
    let text = server.get("/statusz").await.text();
    assert!(text.starts_with("\nkube-apiserver statusz\nWarning: "), "{text}");
    assert!(text.contains("\nEmulation version: 1.36\nPaths: /configz /debug /flagz /healthz "), "{text}");
    let accept = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz";
    let page = server.request("GET", "/statusz", &[("Accept", accept)], "").await.expect(200);
    assert_eq!((&page["kind"], &page["apiVersion"]), (&json!("Statusz"), &json!("config.k8s.io/v1beta1")));
    assert_eq!(page["binaryVersion"], "1.36.0+windlass");
    assert!(page["uptimeSeconds"].is_u64() && page["startTime"].is_string(), "{page}");
    server.request("GET", "/statusz", &[("Accept", "application/json")], "").await.expect(406);
    let accept = "application/json;v=v1alpha1;g=config.k8s.io;as=Flagz";
    let page = server.request("GET", "/flagz", &[("Accept", accept)], "").await.expect(200);
    assert_eq!(page["flags"]["service-cluster-ip-range"], "10.96.0.0/16");
    assert!(server.get("/flagz").await.text().contains("\nauthorization-mode=AlwaysAllow\n"));
    assert_eq!(server.get("/configz").await.expect(200)["kube-apiserver"]["event-ttl"], "1h0m0s");
    assert_eq!(server.get("/logs").await.header("location"), Some("/logs/"));
    assert_eq!(server.get("/logs/../../etc/passwd").await.code, 404);
    server.stop().await;
    let server = Server::with(apiserver::Config::default()).await;
    for path in ["/statusz", "/flagz", "/configz", "/logs/", "/metrics", "/metrics/slis"] {
        assert_eq!(server.get(path).await.code, 403, "{path}");
    }
    let gvr = machinery::GroupVersionResource::new("rbac.authorization.k8s.io", "v1", "clusterroles");
    let target = api::transport::Target::all(gvr).named("system:monitoring");
    let role = server.api.context().loopback.get(&target).await.unwrap();
    let role: Value = serde_json::from_slice(&role.to_json()).unwrap();
    for path in ["/statusz", "/flagz", "/metrics/slis"] {
        assert!(role["rules"][0]["nonResourceURLs"].as_array().unwrap().contains(&json!(path)), "{path}");
    }
    server.stop().await;
}
