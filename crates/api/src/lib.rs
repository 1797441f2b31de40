//! The resource table: what each built-in resource is, defaults, validates and prints.
//!
//! One file per kind (`<group>/<kind>.rs`) holds its [`Rules`] and its [`ResourceDef`]; `table.rs` lists
//! them. Everything else in Windlass asks the table: discovery, printing, RBAC bootstrap, completion.
//! Only this crate instantiates serde for the Kubernetes types, behind [`Kind`], because doing so in every
//! crate costs minutes of release build.
//!
//! Deliberately absent: HTTP, storage, clocks and anything that happens after an object is accepted.

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod common;
#[cfg(test)]
mod contract;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod dra;
pub mod events;
pub mod flowcontrol;
pub mod meta;
pub mod networking;
pub mod node;
pub mod object;
pub mod policy;
pub mod protobuf;
pub mod quota;
pub mod rbac;
pub mod resource;
pub mod rules;
pub mod scheduling;
pub mod schema;
pub mod storage;
pub mod stored;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod wire;

pub use k8s_openapi;
pub use object::{DecodeError, Kind, Object};
pub use resource::{Column, Conversion, ResourceDef, SelectableField, Strategy, Subresource, Verb};
pub use rules::Rules;
pub use stored::StoredObject;
pub use table::ResourceTable;
pub use wire::Wire;
