//! A raw reverse proxy for one HTTP/1.1 request: streams both bodies without buffering them and, when the
//! upstream answers 101, turns into a pipe of bytes (SPDY/3.1 and WebSocket for exec, attach, port-forward).
//!
//! Deliberately absent: routing, authentication, redirects (a redirect is handed to the client as it is, so
//! that an upstream cannot make the proxy call somewhere else), retries and connection reuse: one request, one
//! connection, so that a failed upgrade can never leave a connection behind that someone else speaks on.

use crate::Tasks;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// How long connecting, TLS handshake included, may take (upstream's dial timeout).
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a proxied answer.
pub type ProxyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Plain TCP to `host:port`.
    Tcp(String),
    /// TLS over TCP.
    Tls {
        /// `host:port`.
        address: String,
        /// Whom the certificate must name: a DNS name or an IP address.
        server_name: String,
        /// Trust and identity; its ALPN must offer `http/1.1` or nothing.
        config: Arc<ClientConfig>,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Upstream {
    /// The upstream that an absolute `http` URL names (CRI answers exec, attach and port-forward with such
    /// URLs). `None` for other schemes and relative URLs.
    pub fn of_url(url: &Uri) -> Option<Self> {
        let authority = url.authority()?;
        if url.scheme() != Some(&Scheme::HTTP) {
            return None;
        }
        Some(Self::Tcp(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80))))
    }

    fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Tcp(address) | Self::Tls { address, .. } => ("tcp", address.clone()),
            Self::Unix(path) => ("unix", path.display().to_string()),
        }
    }
}

/// Why a request could not be proxied. The texts follow those that clients know from upstream.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Nothing answers at the address, or not in time.
    #[error("dial {network} {address}: {why}")]
    Dial {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Where to.
        address: String,
        /// Why not.
        why: String,
    },
    /// The TLS handshake failed.
    #[error("tls: failed to verify {address}: {why}")]
    Tls {
        /// Where to.
        address: String,
        /// Why not.
        why: String,
    },
    /// The connection broke before an answer came.
    #[error("{address}: {why}")]
    Broken {
        /// Where to.
        address: String,
        /// How.
        why: String,
    },
}

impl ProxyError {
    /// 503 when nothing answers, 502 when the answer is unusable.
    pub fn code(&self) -> StatusCode {
        match self {
            Self::Dial { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Tls { .. } | Self::Broken { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// As a `Status`, its text after `what` ("error trying to reach service").
    pub fn status(&self, what: &str) -> machinery::Status {
        let reason = match self {
            Self::Dial { .. } => machinery::Reason::ServiceUnavailable,
            Self::Tls { .. } | Self::Broken { .. } => machinery::Reason::Other("BadGateway".to_owned()),
        };
        machinery::Status::new(self.code().as_u16(), reason, format!("{what}: {self}"))
    }
}

/// A connection of any kind.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects, TLS included, within the dial timeout.
pub async fn dial(upstream: &Upstream) -> Result<Box<dyn Connection>, ProxyError> {
    let (network, address) = upstream.describe();
    match tokio::time::timeout(DIAL_TIMEOUT, connect(upstream)).await {
        Ok(result) => result,
        Err(_) => Err(ProxyError::Dial { network, address, why: "i/o timeout".to_owned() }),
    }
}

async fn connect(upstream: &Upstream) -> Result<Box<dyn Connection>, ProxyError> {
    let (network, address) = upstream.describe();
    let dial = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        ProxyError::Dial { network, address: address.clone(), why }
    };
    match upstream {
        Upstream::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await.map_err(dial)?)),
        Upstream::Tcp(to) => {
            let stream = tokio::net::TcpStream::connect(to).await.map_err(dial)?;
            stream.set_nodelay(true).map_err(dial)?;
            Ok(Box::new(stream))
        }
        Upstream::Tls { address: to, server_name, config } => {
            let stream = tokio::net::TcpStream::connect(to).await.map_err(dial)?;
            stream.set_nodelay(true).map_err(dial)?;
            let tls = |why: String| ProxyError::Tls { address: to.clone(), why };
            let name = ServerName::try_from(server_name.clone()).map_err(|e| tls(e.to_string()))?;
            let connector = tokio_rustls::TlsConnector::from(config.clone());
            Ok(Box::new(connector.connect(name, stream).await.map_err(|e| tls(e.to_string()))?))
        }
    }
}

/// Whether the request asks to switch protocols (RFC 9110, section 7.8).
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) && connection_options(headers).any(|o| o == "upgrade")
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
}

/// Removes what concerns only one hop (RFC 9110, section 7.6.1), and what `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        connection_options(headers).filter_map(|option| option.parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Sends `request` over a fresh connection to `upstream` and returns the answer with a streaming body. Only
/// path and query of the request's URI are used; `Host` is kept, or made from the URI.
///
/// When client and upstream agree on another protocol (101), bytes are copied both ways in a task of `tasks`
/// until either side closes. Must be called with the request as the server received it, since its upgrade is
/// claimed from the request's extensions.
pub async fn forward<B>(
    mut request: Request<B>,
    upstream: &Upstream,
    tasks: &Tasks,
) -> Result<Response<ProxyBody>, ProxyError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (_, address) = upstream.describe();
    let broken =
        |error: hyper::Error| ProxyError::Broken { address: address.clone(), why: error.to_string() };
    let upgrading = is_upgrade(request.headers());
    let client = upgrading.then(|| hyper::upgrade::on(&mut request));
    let outgoing = prepare(request, upgrading);
    let connection = dial(upstream).await?;
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.map_err(broken)?;
    tasks.spawn_until_stopped("proxy connection", async move {
        if let Err(error) = driver.with_upgrades().await {
            tracing::debug!(%error, "proxied connection ended");
        }
    });
    let mut answer = sender.send_request(outgoing).await.map_err(broken)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        strip_hop_by_hop(answer.headers_mut());
        if upgrading {
            // The client may already have sent bytes of the other protocol: nothing more is read from it.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    let Some(client) = client else {
        return Err(ProxyError::Broken {
            address,
            why: "switched protocols without being asked to".to_owned(),
        });
    };
    let server = hyper::upgrade::on(&mut answer);
    tasks.spawn_until_stopped("proxy upgrade", async move {
        match tokio::try_join!(client, server) {
            Ok((client, server)) => splice(TokioIo::new(client), TokioIo::new(server)).await,
            Err(error) => tracing::debug!(%error, "failed to switch protocols"),
        }
    });
    Ok(answer.map(|_| http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()))
}

fn prepare<B>(request: Request<B>, upgrading: bool) -> Request<UnsyncBoxBody<Bytes, BoxError>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    strip_hop_by_hop(&mut parts.headers);
    if let (true, Some(protocol)) = (upgrading, protocol) {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(header::UPGRADE, protocol);
    }
    if !parts.headers.contains_key(header::HOST) {
        let host = parts.uri.authority().map_or("localhost", |authority| authority.as_str());
        let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost"));
        parts.headers.insert(header::HOST, host);
    }
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let mut outgoing = Request::new(body.map_err(Into::into).boxed_unsync());
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = Uri::from(path);
    *outgoing.headers_mut() = parts.headers;
    outgoing
}

/// Copies bytes both ways until either side closes or breaks; then both are closed.
pub async fn splice<A, B>(a: A, b: B)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut a_read, mut a_write) = tokio::io::split(a);
    let (mut b_read, mut b_write) = tokio::io::split(b);
    let ended = tokio::select! {
        result = tokio::io::copy(&mut a_read, &mut b_write) => result,
        result = tokio::io::copy(&mut b_read, &mut a_write) => result,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a proxied stream broke");
    }
    // Either may be closed already; whoever is not shall see an orderly end.
    let _ = tokio::join!(a_write.shutdown(), b_write.shutdown());
}

#[cfg(test)]
mod tests;
