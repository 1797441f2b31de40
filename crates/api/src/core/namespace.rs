//! `v1` Namespace.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::Namespace;

crate::kind!(Namespace);

impl Rules for Namespace {}

/// The resource `namespaces`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Namespace>()
        .short(&["ns"])
        .verbs(&[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch])
        .subresource("finalize", None, &[Verb::Update])
        .status()
}
