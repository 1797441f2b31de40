//! `authentication.k8s.io/v1` SelfSubjectReview: who am I; answered, never stored.

use crate::common::names::Messages;
use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;

crate::kind!(SelfSubjectReview);

impl Rules for SelfSubjectReview {
    fn check_name(_: &str, _: bool) -> Messages {
        Messages::new()
    }
}

/// The resource `selfsubjectreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<SelfSubjectReview>().verbs(&[Verb::Create])
}
