//! `scheduling.k8s.io/v1` PriorityClass.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::scheduling::v1::PriorityClass;

crate::kind!(PriorityClass);

impl Rules for PriorityClass {}

/// The resource `priorityclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PriorityClass>().short(&["pc"])
}
