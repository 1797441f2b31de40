//! What runs in pods of the built-in image: a folder each.
//!
//! Deliberately absent: anything that the cluster needs to work.

pub mod hello;
pub mod local_path;
