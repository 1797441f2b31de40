//! What every daemon shares: clock, supervised tasks and shutdown, files that change, TLS, the raw proxy.
//!
//! Deliberately absent: Kubernetes objects and anything that only one daemon needs.

mod answers;
pub mod clock;
mod coalesce;
pub mod files;
pub mod serve;
pub mod tasks;
pub mod tls;
pub mod upgrade;

pub use clock::{Clock, SharedClock};
pub use tasks::Tasks;
