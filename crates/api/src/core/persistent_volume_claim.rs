//! `v1` PersistentVolumeClaim.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

crate::kind!(PersistentVolumeClaim);

impl Rules for PersistentVolumeClaim {}

/// The resource `persistentvolumeclaims`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PersistentVolumeClaim>().short(&["pvc"]).status()
}
