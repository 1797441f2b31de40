//! Status of pods: computed by pure functions, written by one manager.

pub(crate) mod conditions;
pub(crate) mod containers;
pub(crate) mod generate;
pub(crate) mod manager;
pub(crate) mod patch;
pub(crate) mod phase;
#[cfg(test)]
mod tests;
