//! `resource.k8s.io/v1` ResourceClaimTemplate.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;

crate::kind!(ResourceClaimTemplate);

impl Rules for ResourceClaimTemplate {}

/// The resource `resourceclaimtemplates`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceClaimTemplate>()
}
