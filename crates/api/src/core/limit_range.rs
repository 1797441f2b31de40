//! `v1` LimitRange.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::LimitRange;

crate::kind!(LimitRange);

impl Rules for LimitRange {}

/// The resource `limitranges`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<LimitRange>().short(&["limits"])
}
