//! Watches over WebSocket: one event a message, as browsers read them. What clients send is ignored.
//!
//! Source: RFC 6455; upstream's watch handler. Deliberately absent: streams of pods, which the kubelet speaks.

use super::watch::Events;
use component::Tasks;
use component::serve::{Request, Response, full};
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;
use machinery::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Subprotocols that carry a token; they are for authentication and never chosen.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
/// The longest message of a client, in bytes; none means anything.
const MAX_MESSAGE: usize = 64 * 1024;

fn has(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// Whether the request asks for a WebSocket.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    has(headers, CONNECTION, "upgrade") && has(headers, UPGRADE, "websocket")
}

/// The subprotocol to answer with: the one that is asked for.
fn subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, Status> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with(TOKEN))
        .collect();
    match offered.as_slice() {
        [] => Ok(None),
        [one] => Ok(HeaderValue::from_str(one).ok()),
        _ => Err(Status::bad_request("missing or bad WebSocket-Protocol")),
    }
}

/// Switches to WebSocket and sends `events` until either side has enough.
pub(super) fn response(mut request: Request, events: Events, tasks: &Tasks) -> Result<Response, Status> {
    let headers = request.headers();
    if headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version != "13") {
        return Err(Status::bad_request("missing or bad WebSocket Version"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Status::bad_request("missing or bad WebSocket key"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal)?;
    let protocol = subprotocol(headers)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tasks.spawn("websocket watch", async move {
        match upgrade.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(MAX_MESSAGE))
                    .max_frame_size(Some(MAX_MESSAGE));
                let io = TokioIo::new(upgraded);
                send(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await, events).await;
            }
            Err(error) => tracing::debug!(%error, "failed to upgrade a watch"),
        }
    });
    let mut response = Response::new(full(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

async fn send(socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, mut events: Events) {
    let (mut sink, mut stream) = socket.split();
    let is_text = events.is_text();
    loop {
        tokio::select! {
            incoming = stream.next() => match incoming {
                // Pings are answered while reading; the rest means nothing.
                Some(Ok(message)) if !message.is_close() => {}
                _ => break,
            },
            batch = events.next() => {
                let Some(frames) = batch else { break };
                for frame in frames {
                    let message = match Utf8Bytes::try_from(frame.clone()) {
                        Ok(text) if is_text => Message::Text(text),
                        _ => Message::Binary(frame),
                    };
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
    let _ = sink.send(Message::Close(None)).await;
    let _ = sink.close().await;
}
