//! `v1` ResourceQuota.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::ResourceQuota;

crate::kind!(ResourceQuota);

impl Rules for ResourceQuota {}

/// The resource `resourcequotas`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceQuota>().short(&["quota"]).status()
}
