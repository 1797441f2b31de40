//! Logs, exec and proxies end to end: client, API server, a kubelet of this test behind TLS, and back.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::Config;
use component::serve::{ConnInfo, Handler, Limits, Request, Response, full, serve};
use component::{Tasks, tls};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Shows who asked for what; turns upgrades into an echo.
struct Kubelet(Tasks);

impl Handler for Kubelet {
    fn handle(&self, mut request: Request) -> BoxFuture<'static, Response> {
        let info = request.extensions().get::<Arc<ConnInfo>>().cloned().unwrap();
        assert!(!info.client_certificates.is_empty(), "the API server shows its certificate");
        assert!(!request.headers().contains_key("authorization"), "credentials stay behind");
        let what = request.uri().to_string();
        if !request.headers().contains_key("upgrade") {
            return Box::pin(async move {
                if what.contains("/missing/") {
                    return http::Response::builder().status(404).body(full("no such container\n")).unwrap();
                }
                http::Response::new(full(what))
            });
        }
        let upgraded = hyper::upgrade::on(&mut request);
        self.0.spawn_until_stopped("echo", async move {
            let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
            stream.write_all(what.as_bytes()).await.unwrap();
            let mut buffer = [0; 64];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..n]).await.unwrap();
            }
        });
        let answer = http::Response::builder()
            .status(101)
            .header("upgrade", "SPDY/3.1")
            .header("connection", "Upgrade");
        Box::pin(async move { answer.body(full("")).unwrap() })
    }
}

async fn start(tasks: &Tasks) -> Server {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem().into_bytes();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap().pem().into_bytes();
    let pair = tls::KeyPair { certificate, key: key.serialize_pem().into_bytes() };

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Arc::new(tls::server(&pair, Some(&ca)).unwrap());
    let kubelet =
        serve(listener, Some(config), Limits::default(), tasks, Arc::new(Kubelet(tasks.clone()))).unwrap();
    let client = tls::client(&ca, Some(&pair), &["http/1.1"]).unwrap();
    let config = Config {
        authorization_modes: vec!["AlwaysAllow".to_owned()],
        kubelet: apiserver::KubeletClient { tls: Some(Arc::new(client)) },
        ..Config::default()
    };
    let server = Server::with(config).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    server.post("/api/v1/nodes", &node).await.expect(201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}}}});
    server.patch("/api/v1/nodes/n1/status", "merge", &status).await.expect(200);
    for name in ["p", "missing"] {
        let mut pod = support::people::pod(name);
        pod["spec"]["nodeName"] = json!("n1");
        server.post(PODS, &pod).await.expect(201);
    }
    server
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_kubelet() {
    let tasks = Tasks::new();
    let server = start(&tasks).await;
    let path = format!("{PODS}/p/log?follow=true&tailLines=5&junk=1");
    let answer = server.request("GET", &path, &[("Authorization", "Bearer none-needed")], "").await;
    // A bearer token that nobody knows is refused even where everyone is let in.
    assert_eq!(answer.code, 401);
    let answer = server.get(&path).await;
    assert_eq!(
        (answer.code, answer.text().as_str()),
        (200, "/containerLogs/default/p/c?follow=true&tailLines=5")
    );
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let refused = server.get(&format!("{PODS}/missing/log")).await.expect(404);
    assert_eq!(refused["message"], "no such container");
    let bad = server.get(&format!("{PODS}/p/log?tailLines=-1")).await.expect(422);
    assert!(bad["message"].as_str().unwrap().contains("must be greater than or equal to 0"), "{bad}");
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_is_a_pipe_through_both() {
    let tasks = Tasks::new();
    let server = start(&tasks).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {PODS}/p/exec?command=cat&stdin=true&stdout=true HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\
         Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let expected = "/exec/default/p/c?input=1&output=1&command=cat";
    let answer = read_until(&mut stream, expected).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream.write_all(b"ping").await.unwrap();
    read_until(&mut stream, "ping").await;
    drop(stream);
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_keep_path_and_query_and_refuse_loopback() {
    let tasks = Tasks::new();
    let server = start(&tasks).await;
    let answer = server.get("/api/v1/nodes/n1/proxy/stats/summary?only=cpu").await;
    assert_eq!((answer.code, answer.text().as_str()), (200, "/stats/summary?only=cpu"));
    let answer = server.get("/api/v1/nodes/n1/proxy").await;
    assert_eq!((answer.code, answer.header("location")), (301, Some("/api/v1/nodes/n1/proxy/")));
    server
        .patch(
            &format!("{PODS}/p/status"),
            "merge",
            &json!({"status": {"podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}]}}),
        )
        .await
        .expect(200);
    let refused = server.get(&format!("{PODS}/p:80/proxy/")).await.expect(400);
    assert_eq!(refused["message"], "address not allowed");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    server.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    let none = server.get("/api/v1/namespaces/default/services/s:80/proxy/").await.expect(503);
    assert_eq!(none["message"], "no endpoints available for service \"s\"");
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_is_down_is_named() {
    let tasks = Tasks::new();
    let server = start(&tasks).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let status = json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": closed}}}});
    server.patch("/api/v1/nodes/n1/status", "merge", &status).await.expect(200);
    let failed = server.get(&format!("{PODS}/p/log")).await.expect(500);
    assert_eq!(
        failed["message"],
        format!(
            "Get \"https://127.0.0.1:{closed}/containerLogs/default/p/c\": dial tcp 127.0.0.1:{closed}: connect: \
             connection refused"
        )
    );
    let headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
    let failed = server.request("POST", &format!("{PODS}/p/exec?command=ls&stdout=1"), &headers, "").await;
    assert_eq!(
        failed.expect(500)["message"],
        format!("error dialing backend: dial tcp 127.0.0.1:{closed}: connect: connection refused")
    );
    let _: Value = failed.json();
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

async fn read_until(stream: &mut TcpStream, marker: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    let reading = tokio::time::timeout(Duration::from_secs(10), async {
        while !String::from_utf8_lossy(&text).contains(marker) {
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "ended after {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&buffer[..n]);
        }
    });
    reading.await.expect("the marker in time");
    String::from_utf8(text).unwrap()
}
