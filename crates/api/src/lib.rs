//! The resource table: what each built-in resource is, defaults, validates and prints.
//!
//! One file per kind (`<group>/<kind>.rs`) holds its [`Rules`] and its [`ResourceDef`]; `table.rs` lists
//! them. Everything else in Windlass asks the table: discovery, printing, RBAC bootstrap, completion.
//! Only this crate instantiates serde for the Kubernetes types, behind [`Kind`], because doing so in every
//! crate costs minutes of release build.
//!
//! Deliberately absent: HTTP, storage, clocks and anything that happens after an object is accepted.

pub mod object;
pub mod resource;
pub mod rules;
pub mod stored;
pub mod transport;

pub use k8s_openapi;
pub use object::{DecodeError, Kind, Object};
pub use resource::{Column, ResourceDef, SelectableField, Strategy, Subresource, Verb};
pub use rules::Rules;
pub use stored::StoredObject;
