//! Commands that only translate flags into a component's configuration.

pub(crate) mod dns;
pub(crate) mod image;
pub(crate) mod store;
