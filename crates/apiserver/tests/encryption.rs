//! Encryption at rest: what is in the store's files, rotation of keys, and a KMS plugin over its real protocol.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::storage::encryption::EncryptionConfig;
use apiserver::{ApiServer, Config, Listen};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component::Tasks;
use component::clock::FakeClock;
use futures::future::BoxFuture;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use store::embedded::{Embedded, Options};
use store::{RangeOptions, Store};
use support::{Answer, request};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PLAIN: &str = "the-answer-is-forty-two-and-nobody-may-read-it";

/// A store that outlives the servers on it.
struct Place {
    dir: tempfile::TempDir,
    store: Arc<Embedded>,
    clock: Arc<FakeClock>,
}

struct Running {
    api: ApiServer,
    store: Arc<Embedded>,
    tasks: Tasks,
}

impl Place {
    fn new() -> Self {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(&dir.path().join("store"), Options::default()).unwrap());
        Self { dir, store, clock }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("encryption.yaml")
    }

    fn write(&self, providers: &str) {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
             providers: {providers}\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    async fn try_start(&self) -> Result<Running, apiserver::Error> {
        let store = self.store.clone();
        let tasks = Tasks::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config {
            authorization_modes: vec!["AlwaysAllow".to_owned()],
            advertise: "192.0.2.10:6443".parse().unwrap(),
            encryption: self
                .config()
                .exists()
                .then(|| EncryptionConfig { file: self.config(), reload: true }),
            ..Config::default()
        };
        let listeners = vec![Listen { listener, tls: None }];
        let api = ApiServer::start(config, listeners, store.clone(), self.clock.clone(), &tasks).await?;
        Ok(Running { api, store, tasks })
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap()
    }

    /// Whether any file of the store has these bytes.
    fn files_have(&self, needle: &str) -> bool {
        fn look(dir: &Path, needle: &[u8]) -> bool {
            std::fs::read_dir(dir).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    return look(&path, needle);
                }
                std::fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle))
            })
        }
        look(&self.dir.path().join("store"), needle.as_bytes())
    }
}

impl Running {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(self.api.addresses()[0], method, path, &[("Content-Type", "application/json")], &body).await
    }

    async fn make(&self, name: &str) -> Value {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {"a": STANDARD.encode(PLAIN)}});
        self.ask("POST", SECRETS, secret).await.expect(201)
    }

    async fn stored(&self, name: &str) -> Vec<u8> {
        let key = Bytes::from(format!("/registry/secrets/default/{name}"));
        let range = self.store.range(key, None, RangeOptions::default()).await.unwrap();
        range.kvs[0].value.to_vec()
    }

    async fn begins(&self, name: &str, prefix: &str) {
        let stored = self.stored(name).await;
        let head = String::from_utf8_lossy(&stored[..stored.len().min(60)]).into_owned();
        assert!(head.starts_with(prefix), "{name}: {head:?} begins with {prefix}");
    }

    /// Reads a secret and writes it back as it is.
    async fn rewrite(&self, name: &str) -> (Value, Value) {
        let path = format!("{SECRETS}/{name}");
        let before = self.ask("GET", &path, Value::Null).await.expect(200);
        assert_eq!(before["data"]["a"], STANDARD.encode(PLAIN));
        let after = self.ask("PUT", &path, before.clone()).await.expect(200);
        (before["metadata"]["resourceVersion"].clone(), after["metadata"]["resourceVersion"].clone())
    }

    async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(10)).await);
    }
}

fn key(way: &str, name: &str, byte: u8) -> String {
    format!("{{{way}: {{keys: [{{name: {name}, secret: {}}}]}}}}", STANDARD.encode([byte; 32]))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_readable_in_the_files_and_keys_rotate() {
    let place = Place::new();
    for (at, way) in ["aescbc", "aesgcm", "secretbox"].into_iter().enumerate() {
        let providers = ["secretbox", "aesgcm", "aescbc"].map(|way| key(way, "k", 7));
        place.write(&format!("[{}, {}]", key(way, "k", 7), providers.join(", ")));
        let running = place.start().await;
        let name = format!("s{at}");
        running.make(&name).await;
        running.begins(&name, &format!("k8s:enc:{way}:v1:k:")).await;
        // A list, a watch's cache and a restart see plaintext.
        let list = running.ask("GET", SECRETS, Value::Null).await.expect(200);
        assert!(
            list["items"].as_array().unwrap().iter().all(|s| s["data"]["a"] == STANDARD.encode(PLAIN)),
            "{list}"
        );
        running.stop().await;
    }
    assert!(place.files_have("k8s:enc:aescbc:v1:k:"), "the search finds what is there");
    assert!(
        !place.files_have(PLAIN) && !place.files_have(&STANDARD.encode(PLAIN)),
        "no plaintext in the files"
    );

    // A new key is the first; the old one still reads. Writing anew what did not change moves it to the new key.
    place.write(&format!(
        "[{}, {}]",
        key("aesgcm", "new", 8),
        ["aescbc", "aesgcm", "secretbox"].map(|w| key(w, "k", 7)).join(", ")
    ));
    let running = place.start().await;
    for name in ["s0", "s1", "s2"] {
        let (before, after) = running.rewrite(name).await;
        assert_ne!(before, after, "{name} was written again");
        running.begins(name, "k8s:enc:aesgcm:v1:new:").await;
        let (before, after) = running.rewrite(name).await;
        assert_eq!(before, after, "{name} is up to date, so nothing is written");
    }

    // Without a restart: back to plaintext, which is stale too until it is encrypted again.
    place.write(&format!("[{{identity: {{}}}}, {}]", key("aesgcm", "new", 8)));
    let plain = async {
        loop {
            running.rewrite("s0").await;
            if running.stored("s0").await.starts_with(b"{") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), plain).await.expect("the new configuration in force");
    running.begins("s1", "k8s:enc:aesgcm:v1:new:").await;
    running.stop().await;

    // A key that is gone makes its objects unreadable, and says which.
    place.write(&format!("[{}, {{identity: {{}}}}]", key("aescbc", "other", 9)));
    let running = place.start().await;
    let failed = running.ask("GET", SECRETS, Value::Null).await.expect(500);
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("unable to transform key \"/registry/secrets/default/s1\""), "{message}");
    running.stop().await;
}

/// A plugin that "encrypts" by exclusive or with a byte that its key names. The last one of `keys` is current.
struct Plugin {
    keys: Mutex<Vec<String>>,
    encrypts: AtomicUsize,
    decrypts: AtomicUsize,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Encrypt {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct Encrypted {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Decrypt {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Decrypted {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

impl Plugin {
    fn mask(key: &str, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().map(|byte| byte ^ key.as_bytes()[0]).collect()
    }

    fn current(&self) -> String {
        self.keys.lock().unwrap().last().unwrap().clone()
    }

    fn status(&self, _: Empty) -> Result<StatusAnswer, tonic::Status> {
        Ok(StatusAnswer { version: "v2".into(), healthz: "ok".into(), key_id: self.current() })
    }

    fn encrypt(&self, ask: Encrypt) -> Result<Encrypted, tonic::Status> {
        self.encrypts.fetch_add(1, Ordering::SeqCst);
        let key_id = self.current();
        let annotations = [("where.example.com".to_owned(), b"here".to_vec())].into();
        Ok(Encrypted { ciphertext: Self::mask(&key_id, &ask.plaintext), key_id, annotations })
    }

    fn decrypt(&self, ask: Decrypt) -> Result<Decrypted, tonic::Status> {
        self.decrypts.fetch_add(1, Ordering::SeqCst);
        if !self.keys.lock().unwrap().contains(&ask.key_id)
            || !ask.annotations.contains_key("where.example.com")
        {
            return Err(tonic::Status::not_found("no such key"));
        }
        Ok(Decrypted { plaintext: Self::mask(&ask.key_id, &ask.ciphertext) })
    }
}

/// The plugin as a gRPC service.
#[derive(Clone)]
struct Service(Arc<Plugin>);

impl tonic::server::NamedService for Service {
    const NAME: &'static str = "v2.KeyManagementService";
}

/// One method.
struct Method<Q, A>(Arc<Plugin>, fn(&Plugin, Q) -> Result<A, tonic::Status>);

impl<Q, A: Send + 'static> tonic::server::UnaryService<Q> for Method<Q, A> {
    type Response = A;
    type Future = BoxFuture<'static, Result<tonic::Response<A>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.1)(&self.0, request.into_inner()).map(tonic::Response::new);
        Box::pin(async move { answer })
    }
}

impl tower::Service<http::Request<tonic::body::Body>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let plugin = self.0.clone();
        Box::pin(async move {
            macro_rules! serve {
                ($method:expr) => {{
                    let codec = tonic_prost::ProstCodec::default();
                    tonic::server::Grpc::new(codec).unary(Method(plugin, $method), request).await
                }};
            }
            Ok(match request.uri().path() {
                "/v2.KeyManagementService/Status" => serve!(Plugin::status),
                "/v2.KeyManagementService/Encrypt" => serve!(Plugin::encrypt),
                "/v2.KeyManagementService/Decrypt" => serve!(Plugin::decrypt),
                path => panic!("no method {path}"),
            })
        })
    }
}

fn serve(path: &Path, plugin: &Arc<Plugin>, tasks: &Tasks) {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(Service(plugin.clone()));
    tasks.spawn_until_stopped("plugin", async move { server.serve_with_incoming(incoming).await.unwrap() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kms_plugin_keeps_the_key() {
    let place = Place::new();
    let socket = place.dir.path().join("kms.sock");
    place.write(&format!(
        "[{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}', timeout: 5s}}}}, {{identity: {{}}}}]",
        socket.display()
    ));
    let refused = place.try_start().await.err().unwrap().to_string();
    assert!(refused.contains("failed to call Status of the KMS plugin"), "{refused}");

    let plugin = Arc::new(Plugin {
        keys: Mutex::new(vec!["1-first".to_owned()]),
        encrypts: AtomicUsize::new(0),
        decrypts: AtomicUsize::new(0),
    });
    let tasks = Tasks::new();
    serve(&socket, &plugin, &tasks);
    let running = place.start().await;
    for at in 0..20 {
        running.make(&format!("s{at}")).await;
    }
    running.begins("s0", "k8s:enc:kms:v2:vault:").await;
    assert!(
        running.stored("s0").await.windows(7).any(|w| w == b"1-first"),
        "the key's name is with the value"
    );
    assert_eq!(plugin.encrypts.load(Ordering::SeqCst), 1, "one seed serves all values");
    assert_eq!(plugin.decrypts.load(Ordering::SeqCst), 0);
    let (before, after) = running.rewrite("s0").await;
    assert_eq!(before, after);
    running.stop().await;
    assert!(!place.files_have(PLAIN) && !place.files_have(&STANDARD.encode(PLAIN)));

    let running = place.start().await;
    let list = running.ask("GET", SECRETS, Value::Null).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 20);
    assert_eq!(plugin.decrypts.load(Ordering::SeqCst), 1, "the seed of all values is decrypted once");

    // The plugin's key changes: the next question for its status tells.
    plugin.keys.lock().unwrap().push("2-second".to_owned());
    let rotated = async {
        loop {
            place.clock.advance(Duration::from_secs(61));
            running.rewrite("s0").await;
            if running.stored("s0").await.windows(8).any(|w| w == b"2-second") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), rotated).await.expect("the new key in use");
    let (before, after) = running.rewrite("s1").await;
    assert_ne!(before, after, "what the old key encrypted is stale");
    running.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}
