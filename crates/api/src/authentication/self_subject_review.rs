//! `authentication.k8s.io/v1` SelfSubjectReview.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;

crate::kind!(SelfSubjectReview);

impl Rules for SelfSubjectReview {}

/// The resource `selfsubjectreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SelfSubjectReview>().verbs(&[Verb::Create])
}
