//! `resource.k8s.io/v1` ResourceClaim.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::resource::v1::ResourceClaim;

crate::kind!(ResourceClaim);

impl Rules for ResourceClaim {}

/// The resource `resourceclaims`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceClaim>().status()
}
