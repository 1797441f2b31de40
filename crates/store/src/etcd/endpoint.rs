//! [`Address`]: the URL of a member, and how to connect to it.

use super::options::{Options, Tls};
use crate::kv::StoreError;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bytes that a member may send on a stream before it is told to go on: a list should not wait for that.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A connection, in clear text or TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The URL of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) url: String,
    host: String,
    port: u16,
    is_secure: bool,
}

fn refuse(url: &str, why: &str) -> StoreError {
    StoreError::Invalid(format!("failed to use the etcd endpoint {url:?}: {why}"))
}

impl Address {
    /// Parses a URL; without a scheme it is `https` when `has_tls`.
    pub(super) fn parse(url: &str, has_tls: bool) -> Result<Self, StoreError> {
        let trimmed = url.trim();
        let (is_secure, rest) = match trimmed.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(refuse(url, "only http:// and https:// are supported")),
            None => (has_tls, trimmed),
        };
        if is_secure && !has_tls {
            return Err(refuse(url, "it speaks TLS; give --etcd-cafile"));
        }
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| refuse(url, "it is not a URL"))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse(url, "a path has no meaning here; give scheme, host and port"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(refuse(url, "it has no host"));
        }
        let port = match uri.port_u16() {
            Some(port) => port,
            None if uri.authority().map(http::uri::Authority::as_str) == uri.host() => 2379,
            None => return Err(refuse(url, "it is not a URL of scheme, host and port")),
        };
        Ok(Self { url: trimmed.to_owned(), host, port, is_secure })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// A channel to the member. It connects when it is used, and again when the connection was lost. Must be called
    /// inside a tokio runtime.
    pub(super) fn channel(&self, options: &Options) -> Result<Channel, StoreError> {
        // The connector speaks TLS itself: for tonic it is a connection like any other.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority()))
            .map_err(|error| refuse(&self.url, &error.to_string()))?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(options.keepalive)
            .keep_alive_timeout(options.keepalive_timeout)
            // A member hangs up on clients that ask without having anything to ask for.
            .keep_alive_while_idle(false);
        let address = Arc::new(self.clone());
        let tls = options.tls.clone().filter(|_| self.is_secure);
        let patience = options.connect_timeout;
        let connector =
            tower::service_fn(move |_: Uri| connect_in_time(address.clone(), tls.clone(), patience));
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

async fn connect_in_time(
    address: Arc<Address>,
    tls: Option<Tls>,
    patience: Duration,
) -> Result<TokioIo<Box<dyn Io>>, String> {
    match tokio::time::timeout(patience, connect(&address, tls)).await {
        Ok(connected) => connected.map(TokioIo::new),
        Err(_) => Err(format!("no connection to {} within {patience:?}", address.url)),
    }
}

async fn connect(address: &Address, tls: Option<Tls>) -> Result<Box<dyn Io>, String> {
    let because =
        |what: &str, why: &dyn std::fmt::Display| format!("failed to {what} {}: {why}", address.url);
    let tcp = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| because("connect to", &error))?;
    tcp.set_nodelay(true).map_err(|error| because("set up the connection to", &error))?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let config = tokio::task::spawn_blocking(move || tls())
        .await
        .map_err(|error| because("read the certificates for", &error))?
        .map_err(|why| because("read the certificates for", &why))?;
    let name = ServerName::try_from(address.host.clone()).map_err(|error| because("name", &error))?;
    let stream =
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| because("trust", &error))?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |url: &str, tls| Address::parse(url, tls).map(|a| (a.authority(), a.is_secure));
        assert_eq!(parse("http://10.0.0.1:2379", false).unwrap(), ("10.0.0.1:2379".into(), false));
        assert_eq!(parse("https://etcd.local", true).unwrap(), ("etcd.local:2379".into(), true));
        assert_eq!(parse("https://[::1]:9/", true).unwrap(), ("[::1]:9".into(), true));
        assert_eq!(parse("a:1", false).unwrap(), ("a:1".into(), false));
        assert_eq!(parse("a:1", true).unwrap(), ("a:1".into(), true));
        for (bad, why) in [
            ("https://a:1", "--etcd-cafile"),
            ("unix:///x", "only http"),
            ("http://a:1/v3", "path"),
            ("http://", "not a URL"),
            ("", "not a URL"),
            ("http://a:99999", "not a URL"),
            ("http://me:secret@a", "not a URL"),
        ] {
            let error = parse(bad, false).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
