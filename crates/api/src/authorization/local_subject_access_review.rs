//! `authorization.k8s.io/v1` LocalSubjectAccessReview: may this subject do this in this namespace; answered, never stored.

use super::reviews;
use crate::common::names::Messages;
use crate::common::text;
use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use machinery::{FieldErrors, FieldPath};

crate::kind!(LocalSubjectAccessReview);

impl Rules for LocalSubjectAccessReview {
    fn check_name(_: &str, _: bool) -> Messages {
        Messages::new()
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        reviews::validate_subject(&self.spec, errors);
        let path = FieldPath::new("spec");
        if self.spec.non_resource_attributes.is_some() {
            errors.invalid(
                path.child("nonResourceAttributes"),
                serde_json::Value::Null,
                "disallowed on this kind of request",
            );
        }
        let about = self.spec.resource_attributes.as_ref().map(|r| text(&r.namespace)).unwrap_or_default();
        if about != text(&self.metadata.namespace) {
            errors.invalid(
                path.child("resourceAttributes").child("namespace"),
                about,
                "must match metadata.namespace",
            );
        }
    }
}

/// The resource `localsubjectaccessreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<LocalSubjectAccessReview>().verbs(&[Verb::Create])
}
