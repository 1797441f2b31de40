//! A real server on loopback, over the embedded store in a temporary directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

pub mod manifests;
pub mod people;

use api::transport::{Target, WriteOptions};
use apiserver::{ApiServer, Config, Listen};
use component::Tasks;
use component::clock::SystemClock;
use machinery::GroupVersionResource;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::embedded::{Embedded, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that lets everyone do everything.
pub struct Server {
    pub api: ApiServer,
    pub address: SocketAddr,
    pub store: Arc<dyn store::Store>,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let config = Config { authorization_modes: vec!["AlwaysAllow".to_owned()], ..Config::default() };
        Self::with(config).await
    }

    pub async fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
        Self::over(dir, store, config).await
    }

    /// Another server over the same store, after the first one has ended.
    pub async fn restart(self) -> Self {
        let Self { api, store, tasks, _dir: dir, .. } = self;
        assert!(tasks.stop_and_wait(Duration::from_secs(10)).await, "the server stops");
        drop(api);
        let config = Config { authorization_modes: vec!["AlwaysAllow".to_owned()], ..Config::default() };
        Self::over(dir, store, config).await
    }

    async fn over(dir: tempfile::TempDir, store: Arc<dyn store::Store>, config: Config) -> Self {
        let tasks = Tasks::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { advertise: "192.0.2.10:6443".parse().unwrap(), ..config };
        let listeners = vec![Listen { listener, tls: None }];
        let api =
            ApiServer::start(config, listeners, store.clone(), SystemClock::shared(), &tasks).await.unwrap();
        let address = api.addresses()[0];
        // What the service account controller does in a whole cluster.
        let account = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts = GroupVersionResource::new("", "v1", "serviceaccounts");
        let target = Target::all(accounts).in_namespace("default");
        let body = account.to_string().into();
        match api.context().loopback.create(&target, body, &WriteOptions::default()).await {
            Err(status) if !status.is_already_exists() => panic!("{status}"),
            _ => {}
        }
        Self { api, address, store, tasks, _dir: dir }
    }

    pub async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(10)).await, "the server stops");
    }

    /// One request over a connection of its own.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(method, path, headers, body.as_bytes()).await
    }

    /// One request whose body may be anything, over a connection of its own.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.address, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("Content-Type", "application/json")], &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path, &[("Content-Type", "application/json")], &body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], "").await
    }

    /// `kind` is `json`, `merge`, `strategic-merge` or `apply`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let suffix = if kind == "apply" { "yaml" } else { "json" };
        let content = format!("application/{kind}-patch+{suffix}");
        self.request("PATCH", path, &[("Content-Type", &content)], &body.to_string()).await
    }
}

/// One request over a connection of its own.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    send(address, method, path, headers, body.as_bytes()).await
}

async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    // A server that has seen enough of a body answers before its end.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    read.expect("an answer in time").unwrap();
    Answer::parse(&bytes)
}

/// A parsed response.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
        let mut lines = head.split("\r\n");
        let code = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes[split + 4..].to_vec();
        if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
            body = unchunk(&body);
        }
        Self { code, headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The body of an answer that must have this code.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        self.json()
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    out
}
