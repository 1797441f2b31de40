//! `apiregistration.k8s.io/v1` APIService.

use crate::{ResourceDef, Rules};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

crate::kind!(APIService);

impl Rules for APIService {}

/// The resource `apiservices`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<APIService>().category("api-extensions").status()
}
