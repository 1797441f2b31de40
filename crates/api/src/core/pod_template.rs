//! `v1` PodTemplate.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::PodTemplate;

crate::kind!(PodTemplate);

impl Rules for PodTemplate {}

/// The resource `podtemplates`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PodTemplate>()
}
