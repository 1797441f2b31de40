//! `flowcontrol.apiserver.k8s.io/v1` PriorityLevelConfiguration.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration;

crate::kind!(PriorityLevelConfiguration);

impl Rules for PriorityLevelConfiguration {}

/// The resource `prioritylevelconfigurations`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PriorityLevelConfiguration>().status()
}
