//! `authorization.k8s.io/v1` SelfSubjectAccessReview.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;

crate::kind!(SelfSubjectAccessReview);

impl Rules for SelfSubjectAccessReview {}

/// The resource `selfsubjectaccessreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SelfSubjectAccessReview>().verbs(&[Verb::Create])
}
