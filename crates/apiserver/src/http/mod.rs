//! HTTP: bodies in, objects out. What a request means is decided in `request`, what it does in `registry`.
//!
//! Deliberately absent: what the bytes of a media type are (`machinery::codec`, `api::protobuf`).

mod binary;
mod body;
mod compress;
mod deadline;
mod filters;
mod list;
mod metrics;
mod negotiate;
mod pretty;
mod record;
mod resource;
mod respond;
mod table;
mod watch;
mod websocket;

pub(crate) use filters::Front;
pub(crate) use metrics::Metrics;
pub(crate) use negotiate::Accept;
pub(crate) use respond::{json_response, text_response};
