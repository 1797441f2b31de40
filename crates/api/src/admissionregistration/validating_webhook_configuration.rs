//! `admissionregistration.k8s.io/v1` ValidatingWebhookConfiguration.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

crate::kind!(ValidatingWebhookConfiguration);

impl Rules for ValidatingWebhookConfiguration {}

/// The resource `validatingwebhookconfigurations`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ValidatingWebhookConfiguration>().category("api-extensions")
}
