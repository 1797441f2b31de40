//! `authorization.k8s.io/v1` LocalSubjectAccessReview.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;

crate::kind!(LocalSubjectAccessReview);

impl Rules for LocalSubjectAccessReview {}

/// The resource `localsubjectaccessreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<LocalSubjectAccessReview>().verbs(&[Verb::Create])
}
