//! `networking.k8s.io/v1` ServiceCIDR.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::networking::v1::ServiceCIDR;

crate::kind!(ServiceCIDR);

impl Rules for ServiceCIDR {}

/// The resource `servicecidrs`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ServiceCIDR>().status()
}
