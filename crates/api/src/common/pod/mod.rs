//! Pod specs and templates: defaults and validation that Pod and every workload share.

pub mod claims;
mod containers;
pub mod defaults;
pub mod env;
pub mod handlers;
pub mod image;
pub mod legacy_volumes;
pub mod mounts;
pub mod qos;
pub mod resources;
mod restart_rules;
pub mod scheduling;
pub mod security;
pub mod spec;
pub mod template;
pub mod volume_sources;
pub mod volumes;
pub mod warnings;
mod windows;

#[cfg(test)]
mod tests;
