//! `authorization.k8s.io/v1` SelfSubjectAccessReview: may I do this; answered, never stored.

use super::reviews;
use crate::common::names::Messages;
use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use machinery::FieldErrors;

crate::kind!(SelfSubjectAccessReview);

impl Rules for SelfSubjectAccessReview {
    fn check_name(_: &str, _: bool) -> Messages {
        Messages::new()
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        reviews::validate_attributes(
            self.spec.resource_attributes.as_ref(),
            self.spec.non_resource_attributes.as_ref(),
            errors,
        );
    }
}

/// The resource `selfsubjectaccessreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SelfSubjectAccessReview>().verbs(&[Verb::Create])
}
