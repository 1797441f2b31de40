//! From nothing to a cluster: certificates, kubeconfigs, preflight checks, and the `up`, `down`,
//! `status` and `server` commands that assemble the components.
//!
//! Deliberately absent: what the components do. This crate starts them and tells the user how they fare.

pub mod access;
pub mod agent;
mod control_plane;
mod doors;
pub mod down;
pub mod files;
pub mod kubeconfig;
pub mod layout;
pub mod manifests;
mod network;
mod node;
pub mod options;
pub mod pki;
mod pod_network;
pub mod preflight;
pub mod progress;
mod readiness;
pub mod requests;
pub mod server;
pub mod status;
pub mod store;
pub mod topology;
pub mod up;
