//! The revisioned key-value store: etcd's model behind one trait. It knows bytes, not objects.
//!
//! Deliberately absent: Kubernetes objects, JSON, HTTP.

pub mod admin;
pub mod bolt;
pub mod codec;
pub mod embedded;
pub mod etcd;
pub mod front;
#[doc(hidden)]
pub mod fuzz;
pub mod kv;
pub mod maintenance;
pub mod prefixed;
pub mod rpc;

pub use kv::{
    Commit, Compare, Event, EventKind, KeyValue, LeaseId, Op, OpResult, Range, RangeOptions, Revision, Store,
    StoreError, Txn, TxnResult, WatchStream,
};
