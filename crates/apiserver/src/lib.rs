//! The API server: everything between a socket and the store.
//!
//! `contract` holds the traits that its parts agree on. Deliberately absent: controllers, and any way to reach
//! objects that does not go through the registry.

pub mod config;
pub mod contract;
pub mod request;

pub use config::{Config, KubeletClient, Listen, ServiceAccounts};
pub use contract::UserInfo;
