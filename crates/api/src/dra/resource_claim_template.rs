//! `resource.k8s.io/v1` ResourceClaimTemplate: from which each pod gets a claim of its own.

use super::requests::{defaults, validate_claim};
use crate::{ResourceDef, Rules};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use machinery::{FieldErrors, FieldPath};
use serde_json::json;

crate::kind!(ResourceClaimTemplate);

impl Rules for ResourceClaimTemplate {
    fn set_defaults(&mut self) {
        defaults(&mut self.spec.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate_claim(&self.spec.spec, &FieldPath::new("spec").child("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.immutable(FieldPath::new("spec"), &self.spec, &old.spec, json!({}));
    }
}

/// The resource `resourceclaimtemplates`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceClaimTemplate>()
}
