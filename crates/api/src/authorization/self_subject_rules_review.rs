//! `authorization.k8s.io/v1` SelfSubjectRulesReview: what may I do in this namespace; answered, never stored.

use crate::common::names::Messages;
use crate::common::text;
use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;
use machinery::{FieldErrors, FieldPath};

crate::kind!(SelfSubjectRulesReview);

impl Rules for SelfSubjectRulesReview {
    fn check_name(_: &str, _: bool) -> Messages {
        Messages::new()
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        if text(&self.spec.namespace).is_empty() {
            errors.required(FieldPath::new("spec").child("namespace"), "namespace is required");
        }
    }
}

/// The resource `selfsubjectrulesreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SelfSubjectRulesReview>().verbs(&[Verb::Create])
}
