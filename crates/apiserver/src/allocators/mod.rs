//! Allocation of cluster IPs and node ports: no two Services ever get the same one.
//!
//! The truth is the stored Services; what is in use is kept in memory, filled from them at the start. A number is
//! reserved before the object is committed and given back when the commit fails, so concurrent creations cannot
//! collide. Deliberately absent: several API servers on one store, and ranges of IPv6 (see GAPS.md).

mod pool;
mod services;

pub(crate) use services::Services;
