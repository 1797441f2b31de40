//! [`HttpTransport`]: the API over HTTP/2 or HTTP/1.1 and TLS, against anyone's cluster.
//!
//! [`connect`] makes connections, [`auth`] adds credentials, [`lanes`] shares them out, [`url`] builds paths, [`decode`] turns bytes into shared
//! objects; this file joins them. Streams that are not objects (logs, exec, attach, port-forward) go through
//! [`HttpTransport::raw`], [`HttpTransport::upgrade`] and [`HttpTransport::websocket`].

mod auth;
mod connect;
mod decode;
mod lanes;
mod transport;
mod upgrade;
pub mod url;

pub use upgrade::WebSocket;

use crate::client::Client;
use crate::config::{Config, ConfigError};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use auth::Authenticator;
use bytes::Bytes;
use component::SharedClock;
use connect::Connector;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use lanes::{Connections, Lanes};
use machinery::Status;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Largest answer that is read whole.
const MAX_BODY: usize = 1 << 30;
/// How often a request that the server put off (429, or 503 with Retry-After) is sent again, as in client-go.
const MAX_RETRIES: u32 = 10;

/// The API over HTTP. Clones share connections.
#[derive(Clone)]
pub struct HttpTransport {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    base: ::http::Uri,
    lanes: Lanes,
    connector: Connector,
    auth: Authenticator,
    clock: SharedClock,
    user_agent: HeaderValue,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpTransport({})", self.inner.config.server)
    }
}

impl HttpTransport {
    /// A transport for `config`. Runs its credential plugin, if any, but connects only with the first request.
    pub async fn new(config: Config, clock: SharedClock) -> Result<Self, ConfigError> {
        let base: ::http::Uri = config.server.parse().map_err(|error| {
            ConfigError::new(format!("failed to parse the server address {:?}: {error}", config.server))
        })?;
        if base.host().is_none() || !matches!(base.scheme_str(), Some("http" | "https")) {
            return Err(ConfigError::new(format!(
                "failed to use the server address {:?}: it must be https://HOST:PORT",
                config.server
            )));
        }
        let auth = Authenticator::new(config.credentials.clone(), clock.clone());
        let pair = match auth.client_pair().await? {
            Some(pair) => Some(pair),
            None => config.client_pair.clone(),
        };
        let connector = Connector::new(&config, pair.as_ref(), clock.clone())?;
        let lanes = Lanes::new(connector.clone());
        let user_agent = HeaderValue::from_static(concat!("windlass/", env!("CARGO_PKG_VERSION")));
        Ok(Self { inner: Arc::new(Inner { config, base, lanes, connector, auth, clock, user_agent }) })
    }

    /// A client over this transport.
    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()))
    }

    /// What it was made from.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Sends a request whose URI is a path and query, such as `/version` or a pod's `log`, with our credentials, and
    /// answers the response unread: its body may be a stream that never ends. Failures of the API become errors.
    /// Puts off and repeats as the server asks.
    pub async fn raw(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Status> {
        self.exchange(self.inner.lanes.first(), request).await
    }

    async fn exchange(
        &self,
        connections: Connections,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, Status> {
        let (parts, body) = request.into_parts();
        let mut tries = 0;
        loop {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = parts.method.clone();
            *request.headers_mut() = parts.headers.clone();
            *request.uri_mut() = self.absolute(&parts.uri)?;
            self.decorate(request.headers_mut()).await?;
            let sent = connections.request(request).await;
            let response = sent.map_err(|error| self.unreachable(&error))?;
            if response.status() == StatusCode::UNAUTHORIZED && tries == 0 && self.inner.auth.refresh().await
            {
                tries += 1;
                continue;
            }
            match retry_after(&response).filter(|_| tries < MAX_RETRIES) {
                Some(delay) => {
                    tries += 1;
                    self.inner.clock.sleep(delay).await;
                }
                None if response.status().is_client_error() || response.status().is_server_error() => {
                    return Err(decode::failure(response).await);
                }
                None => return Ok(response),
            }
        }
    }

    /// GETs a path and reads the answer whole.
    pub async fn get_bytes(&self, path_and_query: &str) -> Result<Bytes, Status> {
        let request = request(Method::GET, path_and_query, "application/json")?;
        collect(self.raw(request).await?).await
    }

    fn absolute(&self, uri: &::http::Uri) -> Result<::http::Uri, Status> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut parts = self.inner.base.clone().into_parts();
        let prefix = self.inner.base.path().trim_end_matches('/');
        let full = format!("{prefix}{path}");
        parts.path_and_query = Some(full.parse().map_err(|error| {
            Status::bad_request(format!("failed to build the request path {full:?}: {error}"))
        })?);
        ::http::Uri::from_parts(parts).map_err(|error| Status::bad_request(error.to_string()))
    }

    /// Adds who we are.
    async fn decorate(&self, headers: &mut ::http::HeaderMap) -> Result<(), Status> {
        headers.entry(header::USER_AGENT).or_insert_with(|| self.inner.user_agent.clone());
        if !headers.contains_key(header::AUTHORIZATION)
            && let Some(value) =
                self.inner.auth.header().await.map_err(|error| Status::unavailable(error.to_string()))?
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        let who = &self.inner.config.impersonate;
        let text = |value: &str| {
            HeaderValue::from_str(value)
                .map_err(|_| Status::bad_request("impersonated names must be printable ASCII"))
        };
        if !who.user.is_empty() {
            headers.insert("Impersonate-User", text(&who.user)?);
        }
        if !who.uid.is_empty() {
            headers.insert("Impersonate-Uid", text(&who.uid)?);
        }
        for group in &who.groups {
            headers.append("Impersonate-Group", text(group)?);
        }
        Ok(())
    }

    /// A failure below HTTP. Its message carries the innermost cause, which is what tells the user what is wrong.
    fn unreachable(&self, error: &dyn std::error::Error) -> Status {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            cause = inner.to_string();
            source = inner.source();
        }
        Status::unavailable(format!(
            "failed to reach the API server at {}: {cause}; check that it runs and that the address is right",
            self.inner.config.server
        ))
    }
}

/// A request without a body for [`HttpTransport::raw`].
pub fn request(method: Method, path_and_query: &str, accept: &str) -> Result<Request<Bytes>, Status> {
    Request::builder()
        .method(method)
        .uri(path_and_query)
        .header(header::ACCEPT, accept)
        .body(Bytes::new())
        .map_err(|error| {
            Status::bad_request(format!("failed to build a request to {path_and_query:?}: {error}"))
        })
}

/// Reads a body whole, within bounds.
async fn collect(response: Response<Incoming>) -> Result<Bytes, Status> {
    match Limited::new(response.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => {
            Err(Status::unavailable(format!("failed to read the API server's answer: {error}; try again")))
        }
    }
}

/// How long the server asks to wait: 429, or 503 with the header.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    let asks = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    asks.then(|| Duration::from_secs(seconds))
}
