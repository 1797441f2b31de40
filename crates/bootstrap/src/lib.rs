//! From nothing to a cluster: certificates, kubeconfigs, preflight checks, and the `up`, `down` and `status`
//! commands that assemble the components.
//!
//! Deliberately absent: what the components do. This crate starts them and tells the user how they fare.

pub mod files;
pub mod kubeconfig;
pub mod layout;
pub mod options;
pub mod pki;
pub mod preflight;
pub mod progress;
pub mod topology;
