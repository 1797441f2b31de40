//! Documents of clients to JSON trees: JSON, YAML and CBOR with bounds on depth and size, and duplicate keys for strict
//! field validation.
//!
//! Deliberately absent: protobuf, typed objects (crate `api`), and media type negotiation.

pub mod cbor;
pub mod json;
mod print;
pub mod scan;
pub mod yaml;

use serde_json::Value;

/// The bytes are not acceptable text; the message names the place and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The tree; of keys that occur twice the last wins.
    pub value: Value,
    /// What strict field validation complains about, in upstream's words: `duplicate field "spec.replicas"`
    /// or `line 3: key "replicas" already set in map`. At most [`json::STRICT_MAX`].
    pub duplicates: Vec<String>,
}

/// Decodes one document that may be JSON or YAML: JSON when it starts with a brace.
pub fn decode_any(bytes: &[u8]) -> Result<Decoded, CodecError> {
    match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => json::decode(bytes).or_else(|_| yaml::decode(bytes)),
        _ => yaml::decode(bytes),
    }
}
