//! `storage.k8s.io/v1` VolumeAttributesClass.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

crate::kind!(VolumeAttributesClass);

impl Rules for VolumeAttributesClass {}

/// The resource `volumeattributesclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<VolumeAttributesClass>().short(&["vac"])
}
