//! `authentication.k8s.io/v1` TokenReview: whose token is this; answered, never stored.

use crate::common::names::Messages;
use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authentication::v1::TokenReview;
use machinery::{FieldErrors, FieldPath};

crate::kind!(TokenReview);

impl Rules for TokenReview {
    fn check_name(_: &str, _: bool) -> Messages {
        Messages::new()
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        if self.spec.token.is_empty() {
            errors.required(
                FieldPath::new("spec").child("token"),
                "token is required for TokenReview in authentication",
            );
        }
    }
}

/// The resource `tokenreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<TokenReview>().verbs(&[Verb::Create])
}
