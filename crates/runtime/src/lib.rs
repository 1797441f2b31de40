//! A container runtime that speaks CRI: images, snapshots, sandboxes, containers, and the per-pod shim.
//!
//! Knows CRI, OCI and CNI; deliberately knows nothing of Kubernetes objects.

pub mod cni;
mod container;
pub mod images;
pub mod server;
pub mod shim;
mod spec;
mod streaming;

pub use server::{Config, Error, Runtime, cleanup, serve};
