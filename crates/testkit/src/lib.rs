//! What tests of the whole share: clusters of the real binary in network namespaces of their own.
//!
//! Deliberately absent: mocks.

pub mod cluster;
pub mod footprint;
pub mod net;
