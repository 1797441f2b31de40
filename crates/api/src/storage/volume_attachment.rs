//! `storage.k8s.io/v1` VolumeAttachment.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::storage::v1::VolumeAttachment;

crate::kind!(VolumeAttachment);

impl Rules for VolumeAttachment {}

/// The resource `volumeattachments`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<VolumeAttachment>().status()
}
