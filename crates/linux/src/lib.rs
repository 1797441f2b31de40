//! The kernel, behind functions that say what went wrong: links and routes, namespaces, mounts, cgroups,
//! nftables. The only crate that may use `unsafe`.
//!
//! Deliberately absent: Kubernetes, CRI and CNI.

pub mod link;
