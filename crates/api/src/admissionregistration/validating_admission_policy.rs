//! `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicy.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;

crate::kind!(ValidatingAdmissionPolicy);

impl Rules for ValidatingAdmissionPolicy {}

/// The resource `validatingadmissionpolicies`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ValidatingAdmissionPolicy>().category("api-extensions").status()
}
