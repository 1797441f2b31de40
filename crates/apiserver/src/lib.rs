//! The API server: everything between a socket and the store.
//!
//! `contract` holds the traits that its parts agree on. Deliberately absent: controllers, and any way to reach
//! objects that does not go through the registry.

pub mod admission;
pub mod aggregation;
mod allocators;
pub mod audit;
pub mod authn;
pub mod authz;
mod bootstrap;
pub mod cache;
pub mod config;
mod config_file;
pub mod contract;
pub mod crd;
mod discovery;
mod expressions;
pub mod flowcontrol;
mod http;
mod local;
pub mod openapi;
pub mod registry;
mod remote;
pub mod request;
mod server;
pub mod storage;
pub mod subresources;

pub use config::{Config, KubeletClient, Listen, ServiceAccounts};
pub use contract::UserInfo;
pub use flowcontrol::Settings as FlowControlSettings;
pub use server::{ApiServer, Error};
