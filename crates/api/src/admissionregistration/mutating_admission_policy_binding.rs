//! `admissionregistration.k8s.io/v1` MutatingAdmissionPolicyBinding.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;

crate::kind!(MutatingAdmissionPolicyBinding);

impl Rules for MutatingAdmissionPolicyBinding {}

/// The resource `mutatingadmissionpolicybindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<MutatingAdmissionPolicyBinding>().category("api-extensions")
}
