//! The kernel, behind functions that say what went wrong: links and routes, namespaces, mounts, cgroups,
//! nftables. The only crate that may use `unsafe`.
//!
//! Deliberately absent: Kubernetes, CRI and CNI.

// Every use says why it is sound; other crates cannot have any.
#![allow(unsafe_code)]

pub mod beneath;
pub mod capability;
pub mod cgroup;
pub mod conntrack;
pub mod error;
pub mod link;
pub mod mount;
pub mod namespace;
mod netfilter;
pub mod nft;
pub mod process;
pub mod readiness;
pub mod seccomp;
pub mod socket;

pub use error::{Context, Error, Result};
