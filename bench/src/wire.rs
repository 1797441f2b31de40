//! The client of the load: requests and answers as bytes over TLS, with HTTP/2 (as client-go: many streams on few
//! connections) or HTTP/1.1 (a connection for each worker).
//!
//! It shares the machine with the server that it measures, so it does as little as it can. Deliberately absent:
//! typed objects, retries, proxies, credential plugins.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use client::config::Credentials;
use client::{Config, Kubeconfig};
use component::{Tasks, tls};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Flow control windows of client-go's transport.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Bytes taken from the kernel at once.
const READ_BUFFER: usize = 64 * 1024;

/// An encrypted stream to the server.
pub(crate) type Stream = TlsStream<BufReader<TcpStream>>;

/// Where the load goes, and as whom.
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    authorization: Option<HeaderValue>,
    http1: bool,
    tasks: Tasks,
}

/// A way to send requests, one at a time: a connection (HTTP/1.1), or a share of one (HTTP/2).
pub(crate) struct Link {
    sender: Sender,
    authority: HeaderValue,
    authorization: Option<HeaderValue>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

fn authorization(config: &Config) -> Result<Option<HeaderValue>> {
    match &config.credentials {
        Credentials::None => Ok(None),
        Credentials::Token(token) => Ok(Some(HeaderValue::try_from(format!("Bearer {token}"))?)),
        other => {
            bail!("failed to use the kubeconfig: {other:?} is not supported here; use a client certificate")
        }
    }
}

impl Endpoint {
    /// Reads a kubeconfig, whose certificates or token say who we are. Connections end with `tasks`.
    pub(crate) fn load(kubeconfig: Option<&Path>, http1: bool, tasks: &Tasks) -> Result<Self> {
        let kubeconfig = Kubeconfig::load(kubeconfig)
            .context("failed to read the kubeconfig; name one with --kubeconfig")?;
        let config = kubeconfig.config(None)?;
        let uri: Uri = config.server.parse().context("failed to parse the server's address")?;
        ensure!(uri.scheme_str() == Some("https"), "failed to use {uri}: it must be https://HOST:PORT");
        let host = uri.host().context("the server's address has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let ca = config.ca.as_deref().context("the kubeconfig has no certificate authority; add one")?;
        let protocol = if http1 { "http/1.1" } else { "h2" };
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.clone());
        Ok(Self {
            port: uri.port_u16().unwrap_or(443),
            server_name: ServerName::try_from(name).context("the server's name cannot be verified")?,
            authorization: authorization(&config)?,
            tls: Arc::new(tls::client(ca, config.client_pair.as_ref(), &[protocol])?),
            host,
            http1,
            tasks: tasks.clone(),
        })
    }

    /// `count` links, at most `share` of them on one connection; with HTTP/1.1 each has its own.
    pub(crate) async fn links(&self, count: usize, share: usize) -> Result<Vec<Link>> {
        let mut links: Vec<Link> = Vec::with_capacity(count);
        while links.len() < count {
            let link = self.connect().await?;
            let more = (count - links.len() - 1).min(share.saturating_sub(1));
            links.extend((0..more).map_while(|_| link.share()));
            links.push(link);
        }
        Ok(links)
    }

    /// An encrypted stream to the server.
    pub(crate) async fn stream(&self) -> Result<Stream> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let tcp = tcp.with_context(|| format!("failed to connect to {}:{}", self.host, self.port))?;
        tcp.set_nodelay(true)?;
        // rustls reads 4 KiB at a time.
        let tcp = BufReader::with_capacity(READ_BUFFER, tcp);
        let stream = TlsConnector::from(self.tls.clone()).connect(self.server_name.clone(), tcp).await;
        stream.context("failed to agree on TLS with the server")
    }

    /// Whether each worker has a connection of its own.
    pub(crate) fn is_http1(&self) -> bool {
        self.http1
    }

    /// What requests say about the server's name.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What requests say about who sends them, where the certificate does not.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// A link on a connection of its own.
    pub(crate) async fn connect(&self) -> Result<Link> {
        let stream = TokioIo::new(self.stream().await?);
        let sender = if self.http1 {
            let (sender, connection) = http1::handshake(stream).await?;
            // How a connection ends is seen by whoever uses it.
            self.tasks.spawn_until_stopped("connection", async move { drop(connection.await) });
            Sender::Http1(sender)
        } else {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(stream)
                .await?;
            self.tasks.spawn_until_stopped("connection", async move { drop(connection.await) });
            Sender::Http2(sender)
        };
        let authority = HeaderValue::try_from(self.authority())?;
        Ok(Link { sender, authority, authorization: self.authorization.clone() })
    }
}

impl Link {
    /// Another link on the same connection, where that is possible.
    fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        Some(Self {
            sender: Sender::Http2(sender.clone()),
            authority: self.authority.clone(),
            authorization: self.authorization.clone(),
        })
    }

    /// Sends a request whose answer must be a success; its body is still to be read.
    pub(crate) async fn open(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static("bench"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                headers.insert(HOST, self.authority.clone());
                *request.uri_mut() = Uri::try_from(path)?;
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                let authority = self.authority.to_str()?;
                *request.uri_mut() =
                    Uri::builder().scheme("https").authority(authority).path_and_query(path).build()?;
                *request.version_mut() = Version::HTTP_2;
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        bail!("{status} from {path}: {}", String::from_utf8_lossy(&text))
    }

    /// Sends a request and reads its answer, which must be a success.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let response = self.open(method, path, body).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

/// Reads a watch until an event that starts with `wanted` has come.
pub(crate) async fn until(response: Response<Incoming>, wanted: &[u8]) -> Result<()> {
    let mut body = response.into_body();
    let mut line = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        line.extend_from_slice(&data);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            if line.starts_with(wanted) {
                return Ok(());
            }
            line.drain(..=end);
        }
    }
    bail!("a watch ended early")
}
