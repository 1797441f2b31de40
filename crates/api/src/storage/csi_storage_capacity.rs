//! `storage.k8s.io/v1` CSIStorageCapacity.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;

crate::kind!(CSIStorageCapacity);

impl Rules for CSIStorageCapacity {}

/// The resource `csistoragecapacities`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CSIStorageCapacity>()
}
