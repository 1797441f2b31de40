//! Kubernetes protobuf, read by the schema table: an envelope with the object's kind, then the object.
//!
//! Source: API concepts, "Kubernetes Protobuf encoding". Deliberately absent: writing protobuf, which clients do
//! not insist on (they accept JSON as well).

mod decode;
mod wire;

pub use decode::decode;

/// The first bytes of every object.
pub const MAGIC: &[u8; 4] = b"k8s\0";
/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
