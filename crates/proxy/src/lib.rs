//! kube-proxy: makes Service addresses lead to endpoints, with nftables in the kernel (KEP-3866).
//!
//! A change to one Service or its slices costs the work of that Service alone: its rules are planned anew (a
//! pure function), compared with what is installed, and only the difference goes to the kernel, in one atomic
//! batch. Deliberately absent: anything per packet, and judging whether endpoints are healthy.

mod dirty;
pub mod health;
pub mod model;
pub mod nftables;
mod run;

pub use run::{Config, run};
