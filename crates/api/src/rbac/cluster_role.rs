//! `rbac.authorization.k8s.io/v1` ClusterRole.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::ClusterRole;

crate::kind!(ClusterRole);

impl Rules for ClusterRole {}

/// The resource `clusterroles`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ClusterRole>()
}
