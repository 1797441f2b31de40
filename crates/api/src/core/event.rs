//! `v1` Event.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::Event;

crate::kind!(Event);

impl Rules for Event {}

/// The resource `events`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Event>().short(&["ev"])
}
