//! `authorization.k8s.io/v1` SubjectAccessReview.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;

crate::kind!(SubjectAccessReview);

impl Rules for SubjectAccessReview {}

/// The resource `subjectaccessreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SubjectAccessReview>().verbs(&[Verb::Create])
}
