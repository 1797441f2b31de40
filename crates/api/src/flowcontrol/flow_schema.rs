//! `flowcontrol.apiserver.k8s.io/v1` FlowSchema.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::flowcontrol::v1::FlowSchema;

crate::kind!(FlowSchema);

impl Rules for FlowSchema {}

/// The resource `flowschemas`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<FlowSchema>().status()
}
