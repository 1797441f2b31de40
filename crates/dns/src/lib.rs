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
