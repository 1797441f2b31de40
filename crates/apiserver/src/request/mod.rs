//! What a request asks for, read from its method, path and query.
//!
//! Deliberately absent: whether the resource exists, whether the request is allowed, bodies.

mod info;
mod query;

pub use info::{RequestInfo, selected_name};
pub use query::Query;
pub(crate) use query::decode;
pub(crate) use query::parse_propagation;
