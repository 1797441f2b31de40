//! Cluster DNS: names of Services and pods by the Kubernetes DNS specification 1.1.0, everything else from the
//! node's own servers.
//!
//! Answers are worked out from the informers' caches at the moment of the question; there is no copy of the
//! zone that could be out of date. Deliberately absent: zone transfers, DNSSEC, dynamic updates.

pub mod cluster;
pub mod forward;
mod server;
pub mod zone;

pub use server::{Config, Error, run};

use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};

/// A fully qualified name; `None` when the text is none.
pub fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_utf8(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The question for a name's IPv4 addresses.
pub fn address_query(name: &Name) -> Query {
    Query::query(name.clone(), RecordType::A)
}
