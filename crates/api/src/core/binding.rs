//! `v1` Binding: ties a pod to a node; created, never stored.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::Binding;

crate::kind!(Binding);

impl Rules for Binding {}

/// The resource `bindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Binding>().verbs(&[Verb::Create])
}
