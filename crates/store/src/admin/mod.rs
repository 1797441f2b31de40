//! The admin socket: what `windlass store` asks a running cluster about its embedded store, over gRPC on a unix socket
//! that only its owner may open.
//!
//! The same service answers in process ([`client::open`]), so that each verb is written once for a store in use
//! and for a directory at rest.
//!
//! | module | what |
//! | --- | --- |
//! | `service` | the answers |
//! | `listen` | the socket |
//! | [`client`] | both doors to it |
//!
//! Deliberately absent: writing keys, which would go past the API server; other backends (etcd has its own tools);
//! networks.

pub mod client;
mod listen;
mod service;

pub use listen::serve;
pub use service::Service;

/// Messages and stubs, generated from `proto/admin.proto`.
pub mod rpc {
    #![allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub, reason = "generated")]
    tonic::include_proto!("windlass.store");
}

/// Largest message: the largest transaction's value and some.
const MAX_MESSAGE: usize = 64 << 20;
