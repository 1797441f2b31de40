//! `authentication.k8s.io/v1` TokenReview.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::authentication::v1::TokenReview;

crate::kind!(TokenReview);

impl Rules for TokenReview {}

/// The resource `tokenreviews`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<TokenReview>().verbs(&[Verb::Create])
}
