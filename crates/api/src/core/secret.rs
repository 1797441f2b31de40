//! `v1` Secret.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::Secret;

crate::kind!(Secret);

impl Rules for Secret {}

/// The resource `secrets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Secret>()
}
