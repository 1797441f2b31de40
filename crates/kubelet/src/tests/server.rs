//! The HTTPS server, over real TLS on loopback.

use super::*;
use crate::Listen;
use bytes::Bytes;
use component::tls::{self, KeyPair};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer};
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A certificate authority with the certificates that the tests need.
struct Pki {
    ca: Vec<u8>,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { ca, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str, group: &str) -> KeyPair {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem().into_bytes();
        KeyPair { certificate, key: key.serialize_pem().into_bytes() }
    }
}

struct Door {
    bench: Bench,
    pki: Pki,
    port: u16,
}

impl Door {
    async fn new(name: &str) -> Self {
        let bench = Bench::new(name).await;
        let pki = Pki::new();
        let mut config = bench.config();
        config.listen = Listen::Address("127.0.0.1:0".parse().unwrap());
        config.tls = Some(pki.issue("n1", "system:nodes"));
        config.client_ca = Some(pki.ca.clone());
        let running =
            run(config, bench.api.client(), bench.clock.clone(), bench.tasks.child()).await.unwrap();
        Self { bench, pki, port: running.port }
    }

    async fn send(&self, who: Option<&KeyPair>, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        let config = tls::client(&self.pki.ca, who, &["http/1.1"]).unwrap();
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.bench.tasks.spawn_until_stopped("client", async move {
            let _ = connection.with_upgrades().await;
        });
        sender.send_request(request).await.unwrap()
    }

    async fn get(&self, who: Option<&KeyPair>, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header("host", "n1").body(Empty::new()).unwrap();
        let response = self.send(who, request).await;
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    fn admin(&self) -> KeyPair {
        self.pki.issue("admin", "system:masters")
    }

    /// Starts pod `web` with container `a`; returns the path of its log.
    async fn start_pod(&self) -> PathBuf {
        let created = self.bench.create(&pod("web", vec![container("a")])).await;
        self.bench.until_pod("web", "is ready", is_ready).await;
        let uid = created.metadata.uid.clone().unwrap();
        let log = self.bench.config().log_dir("default", "web", &uid).join("a/0.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        log
    }
}

#[tokio::test]
async fn only_those_who_may_are_let_in() {
    let door = Door::new("door").await;
    let admin = door.admin();
    assert_eq!(door.get(None, "/pods").await.0, StatusCode::UNAUTHORIZED);
    let (code, text) = door.get(Some(&door.pki.issue("eve", "guests")), "/stats/summary").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(text, "Forbidden (user=eve, verb=get, resource=nodes, subresource(s)=[stats])\n");
    assert_eq!(door.get(Some(&admin), "/healthz").await, (StatusCode::OK, "ok".to_owned()));
    door.start_pod().await;
    let (code, pods) = door.get(Some(&admin), "/pods").await;
    let pods: serde_json::Value = serde_json::from_str(&pods).unwrap();
    assert_eq!((code, &pods["kind"]), (StatusCode::OK, &"PodList".into()));
    assert_eq!(pods["items"][0]["metadata"]["name"], "web");
    assert_eq!(door.get(Some(&admin), "/no/such/path").await.0, StatusCode::NOT_FOUND);
    assert!(door.get(Some(&admin), "/configz").await.1.contains("\"maxPods\":110"));
    assert!(door.get(Some(&admin), "/metrics").await.1.contains("kubelet_running_pods 1"));
}

#[tokio::test]
async fn logs_are_read_and_followed_through_rotation() {
    let door = Door::new("logs").await;
    let admin = door.admin();
    let log = door.start_pod().await;
    let line = |text: &str| format!("2026-01-01T00:00:00Z stdout F {text}\n");
    std::fs::write(&log, line("one") + &line("two")).unwrap();
    let path = "/containerLogs/default/web/a";
    assert_eq!(door.get(Some(&admin), path).await, (StatusCode::OK, "one\ntwo\n".to_owned()));
    assert_eq!(door.get(Some(&admin), &format!("{path}?tailLines=1")).await.1, "two\n");
    let (code, text) = door.get(Some(&admin), &format!("{path}?previous=true")).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(text, "previous terminated container \"a\" in pod \"web\" not found\n");
    assert_eq!(door.get(Some(&admin), &format!("{path}?tailLines=x")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(door.get(Some(&admin), "/containerLogs/default/none/a").await.0, StatusCode::NOT_FOUND);

    let request = Request::get(format!("{path}?follow=true&tailLines=1")).header("host", "n1");
    let mut body = door.send(Some(&admin), request.body(Empty::new()).unwrap()).await.into_body();
    let mut seen = String::new();
    let mut until = async |want: &str| {
        let reading = async {
            while seen != want {
                let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
                seen.push_str(std::str::from_utf8(&frame).unwrap());
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), reading).await;
        assert!(waited.is_ok(), "saw {seen:?}");
    };
    until("two\n").await;
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(line("three").as_bytes()).unwrap();
    until("two\nthree\n").await;
    std::fs::rename(&log, log.with_extension("log.1")).unwrap();
    std::fs::write(&log, line("four")).unwrap();
    until("two\nthree\nfour\n").await;
    door.bench.runtime.exit("a", 0);
    let end = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.unwrap();
    assert!(end.is_none(), "the stream ends with the container");
}

#[tokio::test]
async fn exec_is_proxied_raw() {
    let door = Door::new("exec").await;
    door.start_pod().await;
    // What the runtime's streaming server would be: it switches protocols and echoes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    door.bench.runtime.set_streaming(&format!("http://{}/token", listener.local_addr().unwrap()));
    door.bench.tasks.spawn_until_stopped("echo", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"POST /token HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let request = Request::post("/exec/default/web/a?command=ls&command=-l&output=1")
        .header("host", "n1")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1");
    let response = door.send(Some(&door.admin()), request.body(Empty::new()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    assert_eq!(door.bench.runtime.count("exec ls -l"), 1);
}
