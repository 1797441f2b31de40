//! `v1` PersistentVolume.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::PersistentVolume;

crate::kind!(PersistentVolume);

impl Rules for PersistentVolume {}

/// The resource `persistentvolumes`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PersistentVolume>().short(&["pv"]).status()
}
