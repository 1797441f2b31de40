//! `authorization.k8s.io/v1` SubjectAccessReview: may this subject do this; answered, never stored.

use super::reviews;
use crate::common::names::Messages;
use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use machinery::FieldErrors;

crate::kind!(SubjectAccessReview);

impl Rules for SubjectAccessReview {
    fn check_name(_: &str, _: bool) -> Messages {
        Messages::new()
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        reviews::validate_subject(&self.spec, errors);
    }
}

/// The resource `subjectaccessreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SubjectAccessReview>().verbs(&[Verb::Create])
}
