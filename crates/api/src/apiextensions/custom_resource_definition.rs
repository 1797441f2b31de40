//! `apiextensions.k8s.io/v1` CustomResourceDefinition.

use crate::{ResourceDef, Rules};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

crate::kind!(CustomResourceDefinition);

impl Rules for CustomResourceDefinition {}

/// The resource `customresourcedefinitions`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CustomResourceDefinition>().short(&["crd", "crds"]).category("api-extensions").status()
}
