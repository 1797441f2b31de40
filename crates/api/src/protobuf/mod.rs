//! Kubernetes protobuf, read and written by the schema table: an envelope with the object's kind, then the object.
//!
//! Source: API concepts, "Kubernetes Protobuf encoding". Deliberately absent: custom resources and tables, which have
//! no protobuf form.

mod decode;
mod encode;
mod wire;

pub use decode::decode;
pub use encode::{
    ENVELOPE_TAIL, encode, encode_body, envelope_head, list_head, list_item, supports, watch_frame,
};

/// The first bytes of every object.
pub const MAGIC: &[u8; 4] = b"k8s\0";
/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The media type of watches.
pub const STREAM_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

#[cfg(test)]
mod tests;
