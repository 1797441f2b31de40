//! The patches of the Kubernetes API: JSON patch, JSON merge patch and strategic merge patch (API
//! conventions, "PATCH operations"), and the client's side that computes them (`kubectl apply`).
//!
//! Deliberately absent: server-side apply, media types, and any knowledge of a kind.

pub mod json;
pub mod merge;
