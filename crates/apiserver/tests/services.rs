//! Addresses and ports of Services, and the Service that leads to the API itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::Server;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn every_service_gets_an_address_of_its_own() {
    let server = Server::start().await;
    let made = (0..20).map(|n| {
        let server = &server;
        async move {
            let body = service(&format!("s{n}"), json!({"ports": [{"port": 80}]}));
            let made = server.post(SERVICES, &body).await.expect(201);
            made["spec"]["clusterIP"].as_str().unwrap().to_owned()
        }
    });
    let ips: BTreeSet<String> = futures::future::join_all(made).await.into_iter().collect();
    assert_eq!(ips.len(), 20);
    assert!(ips.iter().all(|ip| ip.starts_with("10.96.")), "{ips:?}");
    let taken = ips.first().unwrap();
    let body = service("again", json!({"clusterIP": taken, "ports": [{"port": 80}]}));
    let refused = server.post(SERVICES, &body).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("provided IP is already allocated"), "{refused}");
    // A refused or deleted Service holds nothing.
    let owner = server.get(SERVICES).await.expect(200);
    let owner =
        owner["items"].as_array().unwrap().iter().find(|s| s["spec"]["clusterIP"] == taken.as_str()).unwrap();
    server.delete(&format!("{SERVICES}/{}", owner["metadata"]["name"].as_str().unwrap())).await.expect(200);
    server.post(SERVICES, &body).await.expect(201);
    let headless =
        service("headless", json!({"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}));
    assert_eq!(server.post(SERVICES, &headless).await.expect(201)["spec"]["clusterIP"], "None");
    server.stop().await;
}

#[tokio::test]
async fn node_ports_follow_the_type() {
    let server = Server::start().await;
    let ports = json!([{"name": "a", "port": 80, "nodePort": 30123}, {"name": "b", "port": 81}]);
    let body = service("n", json!({"type": "NodePort", "ports": ports}));
    let made = server.post(SERVICES, &body).await.expect(201);
    assert_eq!(made["spec"]["ports"][0]["nodePort"], 30123);
    let second = made["spec"]["ports"][1]["nodePort"].as_i64().unwrap();
    assert!((30000..=32767).contains(&second) && second != 30123);
    let other = service("o", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]}));
    let refused = server.post(SERVICES, &other).await.expect(422);
    assert_eq!(
        refused["message"],
        "Service \"o\" is invalid: spec.ports[0].nodePort: Invalid value: 30123: provided port is already allocated"
    );
    let path = format!("{SERVICES}/n");
    let plain = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "a", "port": 80}]}});
    let changed = server.patch(&path, "merge", &plain).await.expect(200);
    assert_eq!(changed["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert!(changed["spec"]["ports"][0].get("nodePort").is_none(), "{changed}");
    server.post(SERVICES, &other).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn the_way_to_the_api_comes_back() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/services/kubernetes";
    let before = server.get(path).await.expect(200);
    assert_eq!(before["spec"]["clusterIP"], "10.96.0.1");
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    assert_eq!(server.get(slice).await.expect(200)["endpoints"][0]["addresses"], json!(["192.0.2.10"]));
    let version = before["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = format!(
        "/api/v1/namespaces/default/services?watch=1&timeoutSeconds=3&resourceVersion={version}&fieldSelector=metadata.name%3Dkubernetes"
    );
    let (_, seen) = tokio::join!(
        async {
            // The server's own watch begins when it has started.
            tokio::time::timeout(Duration::from_secs(10), server.delete(path)).await.unwrap().expect(200);
        },
        server.get(&watch)
    );
    let seen = seen.text();
    assert!(seen.contains("\"DELETED\"") && seen.contains("\"ADDED\""), "{seen}");
    assert_eq!(server.get(path).await.expect(200)["spec"]["clusterIP"], "10.96.0.1");
    server.stop().await;
}
