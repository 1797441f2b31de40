//! `rbac.authorization.k8s.io/v1` ClusterRoleBinding.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

crate::kind!(ClusterRoleBinding);

impl Rules for ClusterRoleBinding {}

/// The resource `clusterrolebindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ClusterRoleBinding>()
}
