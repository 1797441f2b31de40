//! `apps/v1` Deployment.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::apps::v1::Deployment;

crate::kind!(Deployment);

impl Rules for Deployment {}

/// The resource `deployments`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Deployment>().short(&["deploy"]).category("all").scale().status()
}
