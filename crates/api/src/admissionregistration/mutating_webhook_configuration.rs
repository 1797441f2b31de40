//! `admissionregistration.k8s.io/v1` MutatingWebhookConfiguration.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

crate::kind!(MutatingWebhookConfiguration);

impl Rules for MutatingWebhookConfiguration {}

/// The resource `mutatingwebhookconfigurations`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<MutatingWebhookConfiguration>().category("api-extensions")
}
