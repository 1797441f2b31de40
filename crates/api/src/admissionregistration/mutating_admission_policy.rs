//! `admissionregistration.k8s.io/v1` MutatingAdmissionPolicy.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;

crate::kind!(MutatingAdmissionPolicy);

impl Rules for MutatingAdmissionPolicy {}

/// The resource `mutatingadmissionpolicies`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<MutatingAdmissionPolicy>().category("api-extensions")
}
