//! Connections that stop being HTTP: WebSockets and SPDY for exec, attach and port-forward. Each has a connection of its
//! own, over HTTP/1.1.

use super::{HttpTransport, decode};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use base64::Engine;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use machinery::Status;
use std::fmt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// An open WebSocket.
pub struct WebSocket {
    /// Messages both ways.
    pub stream: WebSocketStream<TokioIo<Upgraded>>,
    /// The subprotocol that the server chose, empty for none.
    pub protocol: String,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket({})", self.protocol)
    }
}

impl HttpTransport {
    /// Sends a request with upgrade headers (its URI a path and query) over a connection of its own; answers the 101
    /// response and the raw connection. Any other answer is an error.
    pub async fn upgrade(&self, request: Request<Bytes>) -> Result<(Response<Incoming>, Upgraded), Status> {
        let uri = self.absolute(request.uri())?;
        let (mut parts, body) = request.into_parts();
        self.decorate(&mut parts.headers).await?;
        if let Some(authority) = uri.authority() {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| Status::bad_request("the server's address is not printable ASCII"))?;
            parts.headers.insert(header::HOST, host);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse().map_err(|_| Status::bad_request(format!("{path:?} is not a path")))?;
        let connection =
            self.inner.connector.http1().connect(uri).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(connection)
            .await
            .map_err(|error| self.unreachable(&error))?;
        TokioExecutor::new().execute(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!("an upgraded connection ended: {error}");
            }
        });
        let sent = sender.send_request(Request::from_parts(parts, Full::new(body))).await;
        let mut response = sent.map_err(|error| self.unreachable(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(match response.status().as_u16() {
                200..400 => Status::bad_request("the server answered without switching protocols"),
                _ => decode::failure(response).await,
            });
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(|error| self.unreachable(&error))?;
        Ok((response, upgraded))
    }

    /// Opens a WebSocket on a path and query, offering `protocols` in order of preference.
    pub async fn websocket(&self, path_and_query: &str, protocols: &[&str]) -> Result<WebSocket, Status> {
        let key = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
        let mut builder = Request::builder()
            .method(Method::GET)
            .uri(path_and_query)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        if !protocols.is_empty() {
            builder = builder.header(header::SEC_WEBSOCKET_PROTOCOL, protocols.join(", "));
        }
        let request = builder.body(Bytes::new()).map_err(|error| {
            Status::bad_request(format!("failed to build a request to {path_and_query:?}: {error}"))
        })?;
        let (response, upgraded) = self.upgrade(request).await?;
        let says = |name: header::HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
        };
        if says(header::SEC_WEBSOCKET_ACCEPT) != derive_accept_key(key.as_bytes()) {
            return Err(Status::bad_request("the server did not complete the WebSocket handshake"));
        }
        let protocol = says(header::SEC_WEBSOCKET_PROTOCOL);
        if !protocol.is_empty() && !protocols.contains(&protocol.as_str()) {
            return Err(Status::bad_request(format!(
                "the server chose the subprotocol {protocol:?} that was not offered"
            )));
        }
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        Ok(WebSocket { stream, protocol })
    }
}
