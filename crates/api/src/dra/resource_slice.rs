//! `resource.k8s.io/v1` ResourceSlice.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::resource::v1::ResourceSlice;

crate::kind!(ResourceSlice);

impl Rules for ResourceSlice {}

/// The resource `resourceslices`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceSlice>()
}
