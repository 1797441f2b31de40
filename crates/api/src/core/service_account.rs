//! `v1` ServiceAccount.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::ServiceAccount;
use machinery::GroupVersionKind;

crate::kind!(ServiceAccount);

impl Rules for ServiceAccount {}

/// The resource `serviceaccounts`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ServiceAccount>().short(&["sa"]).subresource(
        "token",
        Some(GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest")),
        &[Verb::Create],
    )
}
