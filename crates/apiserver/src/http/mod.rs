//! HTTP: bodies in, objects out. What a request means is decided in `request`, what it does in `registry`.
//!
//! Deliberately absent: protobuf and CBOR (see GAPS.md), WebSocket watches.

mod body;
mod compress;
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

pub(crate) use filters::Front;
pub(crate) use metrics::Metrics;
pub(crate) use negotiate::Accept;
pub(crate) use respond::{json_response, text_response};
