//! Pods on this node: where they come from, one worker each, what to do and how.

pub(crate) mod actions;
#[cfg(test)]
mod actions_tests;
pub(crate) mod admit;
pub(crate) mod backoff;
pub(crate) mod cgroups;
pub(crate) mod gc;
pub(crate) mod kill;
pub(crate) mod lifecycle;
pub(crate) mod pleg;
pub(crate) mod sandbox;
pub(crate) mod source;
pub(crate) mod start;
pub(crate) mod sync;
pub(crate) mod terminate;
pub(crate) mod worker;
pub(crate) mod workers;
