//! The patches of the Kubernetes API: JSON patch, JSON merge patch and strategic merge patch (API
//! conventions, "PATCH operations"), and the client's side that computes them (`kubectl apply`).
//!
//! Deliberately absent: server-side apply, media types, and any knowledge of a kind: strategic merges ask a
//! [`Schema`](crate::schema::Schema).

pub mod diff;
pub mod json;
pub mod merge;
mod order;
pub mod strategic;
pub mod three_way;

pub use strategic::StrategicError;

#[cfg(test)]
mod tests;
