//! [`Connector`]: TCP and TLS connections to the API server.

use crate::config::{Config, ConfigError};
use ::http::Uri;
use component::SharedClock;
use component::tls::{self, KeyPair};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection may take, as in client-go.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Protocols that are offered.
const ALPN: [&str; 2] = ["h2", "http/1.1"];
/// The machine's own trust store, where distributions keep it.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Makes connections. Clones share the TLS configuration and its session cache.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
    clock: SharedClock,
}

impl Connector {
    pub(super) fn new(
        config: &Config,
        pair: Option<&KeyPair>,
        clock: SharedClock,
    ) -> Result<Self, ConfigError> {
        let server_name = match config.tls_server_name.as_deref().filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => Some(ServerName::try_from(name.to_owned()).map_err(|error| {
                ConfigError::new(format!("failed to use the TLS server name {name:?}: {error}"))
            })?),
        };
        let tls = if config.server.starts_with("https") {
            Some(Arc::new(client_config(config, pair)?))
        } else {
            None
        };
        Ok(Self { tls, server_name, clock })
    }

    /// The same connector that speaks only HTTP/1.1, for upgrades.
    pub(super) fn http1(&self) -> Self {
        let tls = self.tls.as_ref().map(|tls| {
            let mut tls = ClientConfig::clone(tls);
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(tls)
        });
        Self { tls, ..self.clone() }
    }

    pub(super) async fn connect(self, uri: Uri) -> io::Result<Conn> {
        let clock = self.clock.clone();
        tokio::select! {
            made = self.establish(uri) => made,
            () = clock.sleep(CONNECT_TIMEOUT) => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection timed out")),
        }
    }

    async fn establish(self, uri: Uri) -> io::Result<Conn> {
        let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = self.tls else { return Ok(Conn::Plain(TokioIo::new(tcp))) };
        let name = match self.server_name {
            Some(name) => name,
            None => ServerName::try_from(host).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(tls).connect(name, tcp).await?;
        Ok(Conn::Tls(Box::new(TokioIo::new(stream))))
    }
}

fn client_config(config: &Config, pair: Option<&KeyPair>) -> Result<ClientConfig, ConfigError> {
    let unusable =
        |error: tls::TlsError| ConfigError::new(format!("{error}; check the certificates of the kubeconfig"));
    if config.insecure {
        return tls::client_of_anyone(pair, &ALPN).map_err(unusable);
    }
    let system;
    let ca = match &config.ca {
        Some(ca) => ca,
        None => {
            system = system_roots()?;
            &system
        }
    };
    tls::client(ca, pair, &ALPN).map_err(unusable)
}

fn system_roots() -> Result<Vec<u8>, ConfigError> {
    SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok()).ok_or_else(|| {
        ConfigError::new(
            "failed to find certificate authorities: the configuration has none and the machine has no trust store; \
             set certificate-authority in the kubeconfig or install ca-certificates",
        )
    })
}

impl tower_service::Service<Uri> for Connector {
    type Response = Conn;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Conn>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection, plain or TLS.
pub(super) enum Conn {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            _ => Connected::new(),
        }
    }
}

impl Read for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl Write for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
