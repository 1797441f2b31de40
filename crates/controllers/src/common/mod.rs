//! What several controllers share.

pub(crate) mod claim;
pub(crate) mod conditions;
pub(crate) mod endpoints;
pub(crate) mod expect;
pub(crate) mod hash;
pub(crate) mod owners;
pub(crate) mod pod_control;
pub(crate) mod pods;
pub(crate) mod resources;
pub(crate) mod revisions;
pub(crate) mod scheduling;
#[cfg(test)]
pub(crate) mod testing;
