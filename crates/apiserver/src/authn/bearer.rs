//! Bearer tokens: from the `Authorization` header, or from a WebSocket subprotocol where a browser cannot set
//! headers.

use crate::contract::{Authenticator, UserInfo};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use component::serve::ConnInfo;
use http::{HeaderMap, header};
use machinery::Status;
use std::sync::Arc;

/// A token's owner, and for whom the token is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Whose token it is.
    pub user: UserInfo,
    /// Those of the asked audiences that the token is meant for.
    pub audiences: Vec<String>,
}

/// Knows tokens of one kind.
#[async_trait]
pub trait TokenAuthenticator: Send + Sync {
    /// `None` when the token is of another kind; an error when it is of this kind but bad. `audiences` are those
    /// that the asker accepts; empty means the API server's own.
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status>;
}

/// All kinds of tokens in a row.
pub(crate) struct Bearer {
    kinds: Vec<Arc<dyn TokenAuthenticator>>,
    audiences: Vec<String>,
}

impl Bearer {
    pub(crate) fn new(kinds: Vec<Arc<dyn TokenAuthenticator>>, audiences: Vec<String>) -> Self {
        Self { kinds, audiences }
    }
}

#[async_trait]
impl Authenticator for Bearer {
    async fn authenticate(
        &self,
        request: &http::request::Parts,
        _: &ConnInfo,
    ) -> Result<Option<UserInfo>, Status> {
        let Some(token) = token(&request.headers) else { return Ok(None) };
        match self.review(&token, &self.audiences).await? {
            Some(identified) => Ok(Some(identified.user)),
            None => Err(Status::unauthorized()),
        }
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        let mut bad = None;
        for kind in &self.kinds {
            match kind.identify(token, audiences).await {
                Ok(Some(identified)) => return Ok(Some(identified)),
                Ok(None) => {}
                Err(error) => bad = Some(error),
            }
        }
        bad.map_or(Ok(None), Err)
    }
}

/// Prefix of the subprotocol that carries a token (base64url, unpadded).
const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let encoded = offered.flat_map(|v| v.split(',')).find_map(|p| p.trim().strip_prefix(SUBPROTOCOL))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_from_two_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), None);
        headers.insert(
            "sec-websocket-protocol",
            format!("v4.channel.k8s.io, {SUBPROTOCOL}YWJj").parse().unwrap(),
        );
        assert_eq!(token(&headers).as_deref(), Some("abc"));
        headers.insert("authorization", "bearer  xyz ".parse().unwrap());
        assert_eq!(token(&headers).as_deref(), Some("xyz"));
        headers.insert("authorization", "Basic xyz".parse().unwrap());
        assert_eq!(token(&headers), None);
    }
}
