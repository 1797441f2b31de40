//! `authorization.k8s.io/v1` SelfSubjectRulesReview.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;

crate::kind!(SelfSubjectRulesReview);

impl Rules for SelfSubjectRulesReview {}

/// The resource `selfsubjectrulesreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SelfSubjectRulesReview>().verbs(&[Verb::Create])
}
