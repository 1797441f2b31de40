//! `v1` Pod.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::Pod;
use machinery::GroupVersionKind;

crate::kind!(Pod);

impl Rules for Pod {}

/// The resource `pods`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Pod>()
        .short(&["po"])
        .category("all")
        .subresource(
            "attach",
            Some(GroupVersionKind::new("", "v1", "PodAttachOptions")),
            &[Verb::Create, Verb::Get],
        )
        .subresource("binding", Some(GroupVersionKind::new("", "v1", "Binding")), &[Verb::Create])
        .subresource("ephemeralcontainers", None, &[Verb::Get, Verb::Patch, Verb::Update])
        .subresource("eviction", Some(GroupVersionKind::new("policy", "v1", "Eviction")), &[Verb::Create])
        .subresource(
            "exec",
            Some(GroupVersionKind::new("", "v1", "PodExecOptions")),
            &[Verb::Create, Verb::Get],
        )
        .subresource("log", None, &[Verb::Get])
        .subresource(
            "portforward",
            Some(GroupVersionKind::new("", "v1", "PodPortForwardOptions")),
            &[Verb::Create, Verb::Get],
        )
        .subresource(
            "proxy",
            Some(GroupVersionKind::new("", "v1", "PodProxyOptions")),
            &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update],
        )
        .subresource("resize", None, &[Verb::Get, Verb::Patch, Verb::Update])
        .status()
}
