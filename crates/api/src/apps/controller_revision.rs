//! `apps/v1` ControllerRevision.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::apps::v1::ControllerRevision;

crate::kind!(ControllerRevision);

impl Rules for ControllerRevision {}

/// The resource `controllerrevisions`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ControllerRevision>()
}
