//! `v1` ComponentStatus.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::ComponentStatus;

crate::kind!(ComponentStatus);

impl Rules for ComponentStatus {}

/// The resource `componentstatuses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ComponentStatus>().short(&["cs"]).verbs(&[Verb::Get, Verb::List])
}
