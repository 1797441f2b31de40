//! `rbac.authorization.k8s.io/v1` RoleBinding.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::RoleBinding;

crate::kind!(RoleBinding);

impl Rules for RoleBinding {}

/// The resource `rolebindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<RoleBinding>()
}
