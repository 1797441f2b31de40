//! `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicyBinding.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

crate::kind!(ValidatingAdmissionPolicyBinding);

impl Rules for ValidatingAdmissionPolicyBinding {}

/// The resource `validatingadmissionpolicybindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ValidatingAdmissionPolicyBinding>().category("api-extensions")
}
