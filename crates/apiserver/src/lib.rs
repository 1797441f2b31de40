//! The API server: everything between a socket and the store.
//!
//! `contract` holds the traits that its parts agree on. Deliberately absent: controllers, and any way to reach
//! objects that does not go through the registry.

pub mod admission;
mod allocators;
pub mod authn;
pub mod authz;
mod bootstrap;
pub mod cache;
pub mod config;
pub mod contract;
pub mod crd;
mod discovery;
mod http;
mod local;
pub mod openapi;
pub mod registry;
pub mod request;
mod server;
pub mod storage;
pub mod subresources;

pub use config::{Config, KubeletClient, Listen, ServiceAccounts};
pub use contract::UserInfo;
pub use server::{ApiServer, Error};
