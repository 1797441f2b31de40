//! `networking.k8s.io/v1` NetworkPolicy.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::networking::v1::NetworkPolicy;

crate::kind!(NetworkPolicy);

impl Rules for NetworkPolicy {}

/// The resource `networkpolicies`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<NetworkPolicy>().short(&["netpol"])
}
