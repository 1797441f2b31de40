//! HTTP GET for probes and hooks: any certificate is taken, redirects are followed on the same host.
//!
//! One request, one connection: a probe must see what a new client would.

use super::action;
use super::tcp::{address, dial_error};
use api::k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const MAX_REDIRECTS: usize = 10;
/// Bytes of an answer that are read before the connection is dropped.
const MAX_BODY: usize = 10 * 1024;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    https: bool,
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
}

impl Target {
    /// The target of an action; `ip` is the pod's.
    pub(crate) fn of(get: &HTTPGetAction, container: &Container, ip: &str) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for h in get.http_headers.iter().flatten() {
            let (Ok(name), Ok(value)) =
                (HeaderName::try_from(h.name.as_str()), HeaderValue::try_from(h.value.as_str()))
            else {
                return Err(format!("invalid HTTP header {:?}", h.name));
            };
            headers.append(name, value);
        }
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/1.36"));
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let path = get.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".to_owned());
        Ok(Self {
            https: get.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
            host: get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned()),
            port: action::port(&get.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers,
        })
    }

    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", address(&self.host, self.port), self.path)
    }

    /// The target of a redirect; `None` when it leads to another host.
    fn redirected(&self, location: &str) -> Option<Self> {
        let uri: Uri = location.parse().ok()?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let Some(authority) = uri.authority() else { return Some(Self { path, ..self.clone() }) };
        let https = uri.scheme_str() == Some("https");
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        (host == self.host).then(|| Self { https, host, port, path, headers: self.headers.clone() })
    }
}

/// A probe asks whether the server answers, not who it is. Made once.
fn tls() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let config = component::tls::client_of_anyone(None, &[]).map_err(|error| error.to_string())?;
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

async fn exchange<S>(stream: S, target: &Target) -> Result<(u16, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let mut request = Request::get(&target.path).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    *request.headers_mut() = target.headers.clone();
    let host = HeaderValue::try_from(address(&target.host, target.port)).map_err(|e| e.to_string())?;
    request.headers_mut().entry(header::HOST).or_insert(host);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let location =
            answer.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        let mut body = answer.into_body();
        let mut read = 0;
        // Servers log a broken pipe when nobody reads a short answer.
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MAX_BODY {
                break;
            }
        }
        Ok((status, location))
    };
    tokio::pin!(talk);
    tokio::pin!(connection);
    tokio::select! {
        result = &mut talk => result,
        broken = &mut connection => match broken {
            // The answer may be there already.
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn once(target: &Target) -> Result<(u16, Option<String>), String> {
    let to = address(&target.host, target.port);
    let stream = TcpStream::connect(&to).await.map_err(|error| dial_error(&to, &error))?;
    if !target.https {
        return exchange(stream, target).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(tls()?);
    let stream = connector.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
    exchange(stream, target).await
}

/// Gets `target`; errors are worded as Go's client words them.
pub(crate) async fn get(target: &Target, timeout: Duration) -> Result<Answer, String> {
    let url = target.url();
    let all = async {
        let mut target = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (status, location) = once(&target).await?;
            let redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
            match location.filter(|_| redirect).and_then(|l| target.redirected(&l)) {
                Some(next) => target = next,
                None => return Ok(Answer { status }),
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    };
    match tokio::time::timeout(timeout, all).await {
        Ok(result) => result.map_err(|why| format!("Get {url:?}: {why}")),
        Err(_) => Err(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}
