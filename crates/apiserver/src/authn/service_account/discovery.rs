//! The documents by which others verify service-account tokens: `/.well-known/openid-configuration` and
//! `/openid/v1/jwks` (OpenID Connect Discovery 1.0; RFC 7517).

use super::keys::Keys;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The document at `path` and its media type; `None` for another path. `server` is the address at which clients
/// reach this API server.
pub fn document(keys: &Keys, server: SocketAddr, path: &str) -> Option<(&'static str, Value)> {
    match path.trim_end_matches('/') {
        "/.well-known/openid-configuration" => Some((
            "application/json",
            json!({
                "issuer": keys.issuer(),
                "jwks_uri": format!("https://{server}/openid/v1/jwks"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": keys.algorithms(),
            }),
        )),
        "/openid/v1/jwks" => {
            Some(("application/jwk-set+json", json!({ "keys": keys.public().collect::<Vec<_>>() })))
        }
        _ => None,
    }
}
