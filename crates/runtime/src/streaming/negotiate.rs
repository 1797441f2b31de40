//! From an HTTP request to a protocol: SPDY or WebSocket, and which version of the channels on it.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const SPDY: &str = "SPDY/3.1";
const SPDY_VERSION: &str = "x-stream-protocol-version";

/// What carries a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carrier {
    Spdy,
    WebSocket,
}

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) carrier: Carrier,
    pub(super) protocol: String,
    accept: Option<String>,
}

/// Picks the first protocol of the client's that is among the server's for its carrier. An error is the answer.
pub(super) fn negotiate(
    headers: &HeaderMap,
    spdy: &[&str],
    websocket: &[&str],
) -> Result<Agreed, Box<Response<String>>> {
    let upgrade = words(headers, UPGRADE.as_str());
    let asks = words(headers, CONNECTION.as_str()).iter().any(|word| word.eq_ignore_ascii_case("upgrade"));
    let is = |name: &str| asks && upgrade.iter().any(|word| word.eq_ignore_ascii_case(name));
    let (carrier, offered, known) = if is("websocket") {
        (Carrier::WebSocket, words(headers, SEC_WEBSOCKET_PROTOCOL.as_str()), websocket)
    } else if is(SPDY) {
        (Carrier::Spdy, words(headers, SPDY_VERSION), spdy)
    } else {
        let why = format!("unable to upgrade: missing upgrade headers in request: {upgrade:?}");
        return Err(refuse(StatusCode::BAD_REQUEST, why));
    };
    let found = offered.iter().find(|protocol| known.contains(&protocol.as_str()));
    let Some(protocol) =
        found.cloned().or_else(|| (offered.is_empty() && known.contains(&"")).then(String::new))
    else {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {known:?}"
        );
        return Err(refuse(StatusCode::FORBIDDEN, why));
    };
    let accept = match carrier {
        Carrier::Spdy => None,
        Carrier::WebSocket => {
            let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| {
                refuse(StatusCode::BAD_REQUEST, "unable to upgrade: Sec-WebSocket-Key is missing".to_owned())
            })?;
            Some(derive_accept_key(key.as_bytes()))
        }
    };
    Ok(Agreed { carrier, protocol, accept })
}

fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// An answer that says no.
pub(super) fn refuse(status: StatusCode, why: String) -> Box<Response<String>> {
    let mut response = Response::new(why);
    *response.status_mut() = status;
    Box::new(response)
}

impl Agreed {
    /// The answer that switches protocols.
    pub(super) fn response(&self) -> Response<String> {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        let value = |text: &str| HeaderValue::from_str(text).ok();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self.carrier {
            Carrier::Spdy => {
                headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
                value(&self.protocol).map(|protocol| headers.insert(SPDY_VERSION, protocol));
            }
            Carrier::WebSocket => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                self.accept
                    .as_deref()
                    .and_then(value)
                    .map(|accept| headers.insert(SEC_WEBSOCKET_ACCEPT, accept));
                if !self.protocol.is_empty() {
                    value(&self.protocol).map(|protocol| headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol));
                }
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_clients_order_decides() {
        let spdy = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            (SPDY_VERSION, "v9.channel.k8s.io, v4.channel.k8s.io"),
        ]);
        let agreed = negotiate(&spdy, &["v4.channel.k8s.io"], &[]).unwrap();
        assert_eq!((agreed.carrier, agreed.protocol.as_str()), (Carrier::Spdy, "v4.channel.k8s.io"));
        assert_eq!(agreed.response().headers()[SPDY_VERSION], "v4.channel.k8s.io");
        let refused = negotiate(&spdy, &["v2.channel.k8s.io"], &[]).unwrap_err();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert!(refused.body().contains("unable to negotiate protocol"));
        // The example of RFC 6455, section 1.3.
        let websocket = headers(&[
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ]);
        let agreed = negotiate(&websocket, &[], &["v4.channel.k8s.io", "v5.channel.k8s.io"]).unwrap();
        assert_eq!(agreed.response().headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(negotiate(&headers(&[]), &[""], &[""]).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
