//! Continue tokens: where the next page of a list starts, and at which revision.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use machinery::Status;
use serde::{Deserialize, Serialize};

/// What a continue token says. Opaque to clients; the form is upstream's, so that a token survives a change of
/// server.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    v: String,
    /// Revision of the list; 0 or less continues at the most recent one.
    pub(super) rv: i64,
    /// First key of the page, relative to the list's prefix.
    pub(super) start: String,
}

impl Token {
    pub(super) fn new(rv: i64, start: &str) -> Self {
        Self { v: "meta.k8s.io/v1".to_owned(), rv, start: start.to_owned() }
    }

    pub(super) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn decode(text: &str) -> Result<Self, Status> {
        let refuse = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
        if text.len() > 4096 {
            return Err(refuse("too long".to_owned()));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| refuse(e.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(refuse(format!("server does not recognize this encoded version {:?}", token.v)));
        }
        if token.start.split('/').any(|part| part == "..") || token.start.starts_with('/') {
            return Err(refuse(format!("invalid start key {:?}", token.start)));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_refuse_nonsense() {
        let token = Token::new(7, "b\0");
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        for bad in ["", "%%%", "e30", &Token::new(1, "../x").encode()] {
            assert!(Token::decode(bad).is_err(), "{bad}");
        }
    }
}
