//! From a pod's specification to what the runtime is asked to make.

pub(crate) mod create;
pub(crate) mod env;
pub(crate) mod env_file;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod hosts;
pub(crate) mod mounts;
pub(crate) mod resolv;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod service_env;
