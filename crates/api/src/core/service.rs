//! `v1` Service.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::Service;
use machinery::GroupVersionKind;

crate::kind!(Service);

impl Rules for Service {}

/// The resource `services`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Service>()
        .short(&["svc"])
        .category("all")
        .subresource(
            "proxy",
            Some(GroupVersionKind::new("", "v1", "ServiceProxyOptions")),
            &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update],
        )
        .status()
}
