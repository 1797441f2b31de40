//! `storage.k8s.io/v1` StorageClass.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::storage::v1::StorageClass;

crate::kind!(StorageClass);

impl Rules for StorageClass {}

/// The resource `storageclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<StorageClass>().short(&["sc"])
}
