//! `v1` Endpoints.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::Endpoints;

crate::kind!(Endpoints);

impl Rules for Endpoints {}

/// The resource `endpoints`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Endpoints>().short(&["ep"])
}
