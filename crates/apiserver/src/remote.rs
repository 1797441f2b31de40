//! [`Remote`]: a server that the API server asks by HTTPS: webhooks for audit, authorization and authentication (named by
//! kubeconfig files), issuers of tokens (named by URL). Connections are kept and used again.
//!
//! Redirects are not followed, so that an answer cannot make the API server call somewhere else. Deliberately
//! absent: credential plugins, proxies, HTTP/2, retries.

use crate::config_file::Node;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component::tls::{self, KeyPair};
use component::upgrade::{Connection, Upstream, dial};
use component::{SharedClock, Tasks};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer.
const MAX_ANSWER: usize = 3 * 1024 * 1024;
/// Connections kept for the next request.
const IDLE: usize = 16;

/// What keeps a connection going.
type Driver = hyper::client::conn::http1::Connection<TokioIo<Box<dyn Connection>>, Full<Bytes>>;

/// How we say who we are.
enum Credentials {
    None,
    Header(HeaderValue),
    /// Read for every request: whoever keeps the file renews it.
    TokenFile(PathBuf),
}

/// A server to ask.
pub(crate) struct Remote {
    upstream: Upstream,
    authority: String,
    path: String,
    credentials: Credentials,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    tasks: Tasks,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.authority)
    }
}

fn secret(value: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(value.trim()).map_err(|_| "the token is no header value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a file named in a kubeconfig, whose paths are relative to it.
fn read(beside: &Path, path: &str) -> Result<Vec<u8>, String> {
    let path = beside.parent().unwrap_or(Path::new("")).join(path);
    std::fs::read(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))
}

/// The value of `key-data` (base64) or of the file that `key` names.
fn data(node: &Node<'_>, key: &str, beside: &Path) -> Result<Option<Vec<u8>>, String> {
    let inline = node.get(&format!("{key}-data")).text()?;
    if !inline.is_empty() {
        return STANDARD.decode(inline).map(Some).map_err(|error| format!("{key}-data: {error}"));
    }
    match node.get(key).text()? {
        "" => Ok(None),
        path => read(beside, path).map(Some),
    }
}

/// The entry of a list of named ones.
fn named<'a>(root: &Node<'a>, list: &str, name: &str, of: &str) -> Result<Node<'a>, String> {
    let entries = root.get(list).items()?;
    let found = entries.iter().find(|entry| entry.get("name").text() == Ok(name));
    found.map(|entry| entry.get(of)).ok_or_else(|| format!("{list} has no entry {name:?}"))
}

impl Remote {
    /// The server at an `https` URL (or `http`, which only kubeconfig files may name).
    pub(crate) fn new(url: &str, tls: Arc<ClientConfig>, tasks: &Tasks) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("the URL {url:?} cannot be read: {error}"))?;
        let Some(authority) = uri.authority() else { return Err(format!("the URL {url:?} names no host")) };
        let host = authority.host();
        let upstream = match uri.scheme_str() {
            Some("http") => Upstream::Tcp(format!("{host}:{}", authority.port_u16().unwrap_or(80))),
            Some("https") => Upstream::Tls {
                address: format!("{host}:{}", authority.port_u16().unwrap_or(443)),
                server_name: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                config: tls,
            },
            _ => return Err(format!("the URL {url:?} must start with https://")),
        };
        Ok(Self {
            upstream,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            credentials: Credentials::None,
            idle: Mutex::default(),
            tasks: tasks.clone(),
        })
    }

    /// The server that a kubeconfig's current context names. Reads the files that it names.
    pub(crate) fn of_kubeconfig(path: &Path, tasks: &Tasks) -> Result<Self, String> {
        let failed = |why: String| format!("failed to use the kubeconfig {}: {why}", path.display());
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let value: Value =
            machinery::codec::decode_any(&bytes).map_err(|error| failed(error.to_string()))?.value;
        Self::of_value(&value, path, tasks).map_err(failed)
    }

    fn of_value(value: &Value, path: &Path, tasks: &Tasks) -> Result<Self, String> {
        let root = Node::root(
            value,
            &["clusters", "users", "contexts", "current-context", "preferences", "extensions"],
        )?;
        let context = named(&root, "contexts", root.get("current-context").required()?, "context")?;
        let cluster = named(&root, "clusters", context.get("cluster").required()?, "cluster")?;
        let nobody = Value::Null;
        let user = match context.get("user").text()? {
            "" => Node::root(&nobody, &[])?,
            name => named(&root, "users", name, "user")?,
        };
        for unsupported in ["exec", "auth-provider"] {
            if user.get(unsupported).is_set() {
                return Err(format!("{unsupported} is not supported; use a certificate or a token"));
            }
        }
        let pair = match (data(&user, "client-certificate", path)?, data(&user, "client-key", path)?) {
            (Some(certificate), Some(key)) => Some(KeyPair { certificate, key }),
            (None, None) => None,
            _ => return Err("client-certificate and client-key must be given together".to_owned()),
        };
        let alpn = ["http/1.1"];
        let config = match data(&cluster, "certificate-authority", path)? {
            Some(bundle) => tls::client(&bundle, pair.as_ref(), &alpn),
            None if cluster.get("insecure-skip-tls-verify").flag()? == Some(true) => {
                tls::client_of_anyone(pair.as_ref(), &alpn)
            }
            None => system_client(pair.as_ref()),
        };
        let config = config.map_err(|error| error.to_string())?;
        let mut remote = Self::new(cluster.get("server").required()?, Arc::new(config), tasks)?;
        let name = cluster.get("tls-server-name").text()?;
        if let Upstream::Tls { server_name, .. } = &mut remote.upstream
            && !name.is_empty()
        {
            name.clone_into(server_name);
        }
        remote.credentials = credentials(&user, path)?;
        Ok(remote)
    }

    /// Posts JSON; the answer's code and body, or why there is none. Such a failure names no credentials.
    pub(crate) async fn post(&self, body: Bytes, timeout: Duration) -> Result<(StatusCode, Bytes), String> {
        self.exchange(Method::POST, &self.path, body, timeout).await
    }

    /// Posts JSON, again after growing pauses where the server cannot be reached or is in trouble; the body of the answer.
    pub(crate) async fn post_again(
        &self,
        body: &Bytes,
        timeout: Duration,
        (tries, mut pause): (u32, Duration),
        clock: &SharedClock,
    ) -> Result<Bytes, String> {
        let mut attempt = 1;
        loop {
            let error = match self.post(body.clone(), timeout).await {
                Ok((code, answer)) if code.is_success() => return Ok(answer),
                Ok((code, answer)) => {
                    let text = String::from_utf8_lossy(&answer[..answer.len().min(512)]).trim().to_owned();
                    let error = format!("the server responded with {code}: {text}");
                    if !(code.is_server_error() || code.as_u16() == 429) {
                        return Err(error);
                    }
                    error
                }
                Err(error) => error,
            };
            if attempt >= tries {
                return Err(error);
            }
            attempt += 1;
            clock.sleep(pause).await;
            pause = pause.mul_f64(1.5);
        }
    }

    /// Gets what the URL names.
    pub(crate) async fn get(&self, timeout: Duration) -> Result<(StatusCode, Bytes), String> {
        self.exchange(Method::GET, &self.path, Bytes::new(), timeout).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let failed = |why: String| format!("{method} \"{}{path}\": {why}", self.authority);
        match tokio::time::timeout(timeout, self.attempt(&method, path, body)).await {
            Ok(result) => result.map_err(failed),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    async fn attempt(&self, method: &Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "windlass-apiserver");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        match &self.credentials {
            Credentials::None => {}
            Credentials::Header(value) => request = request.header(header::AUTHORIZATION, value),
            Credentials::TokenFile(path) => {
                let token = tokio::fs::read_to_string(path).await;
                let token = token.map_err(|error| format!("failed to read {}: {error}", path.display()))?;
                request = request.header(header::AUTHORIZATION, secret(&format!("Bearer {}", token.trim()))?);
            }
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        if self.tasks.stopping().is_cancelled() {
            // No task can keep a connection any more; what is said last (audit events) is said over one of its own.
            let (mut sender, connection) = self.connect().await?;
            let driving = async {
                let _ = connection.await;
                std::future::pending().await
            };
            return tokio::select! {
                answer = Self::send(&mut sender, request) => answer,
                never = driving => never,
            };
        }
        let mut sender = self.sender().await?;
        let answer = Self::send(&mut sender, request).await?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        Ok(answer)
    }

    async fn send(
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), String> {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (code, mut body) = (answer.status(), answer.into_body());
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            bytes.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            if bytes.len() > MAX_ANSWER {
                return Err(format!("the answer is larger than {MAX_ANSWER} bytes"));
            }
        }
        Ok((code, bytes.into()))
    }

    /// A connection that is still open, or a new one.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let Some(mut kept) = self.idle.lock().pop() else { break };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let (sender, connection) = self.connect().await?;
        self.tasks.spawn_until_stopped("remote connection", async move {
            // Whoever waits for an answer learns of a broken connection.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, Driver), String> {
        let stream = dial(&self.upstream).await.map_err(|error| error.to_string())?;
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())
    }
}

fn credentials(user: &Node<'_>, path: &Path) -> Result<Credentials, String> {
    let file = user.get("tokenFile").text()?;
    if !file.is_empty() {
        return Ok(Credentials::TokenFile(path.parent().unwrap_or(Path::new("")).join(file)));
    }
    let token = user.get("token").text()?;
    if !token.is_empty() {
        return Ok(Credentials::Header(secret(&format!("Bearer {token}"))?));
    }
    let name = user.get("username").text()?;
    if name.is_empty() {
        return Ok(Credentials::None);
    }
    let basic = STANDARD.encode(format!("{name}:{}", user.get("password").text()?));
    Ok(Credentials::Header(secret(&format!("Basic {basic}"))?))
}

/// Where distributions keep the bundle of authorities that the machine trusts.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// A client that trusts whom the machine trusts.
pub(crate) fn system_client(pair: Option<&KeyPair>) -> Result<ClientConfig, tls::TlsError> {
    let bundle =
        SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).ok_or_else(|| tls::TlsError {
            what: "CA bundle",
            why: "none is given, and this machine has none of its own".to_owned(),
        })?;
    tls::client(&bundle, pair, &["http/1.1"])
}
