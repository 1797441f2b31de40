//! kube-scheduler: a queue of pods, a cache of nodes, and plugins that say where a pod may and should run.
//!
//! One task schedules, one pod at a time, on an immutable snapshot of the cache; binding runs beside it, on the
//! assumption that it will succeed. Deliberately absent: anything that starts or stops pods.

pub mod cache;
pub mod framework;
pub mod plugins;
pub mod queue;
pub mod resources;
mod schedule;
mod watch;

pub use schedule::{Config, run};
