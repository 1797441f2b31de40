//! `rbac.authorization.k8s.io/v1` Role.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::Role;

crate::kind!(Role);

impl Rules for Role {}

/// The resource `roles`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Role>()
}
