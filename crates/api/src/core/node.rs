//! `v1` Node.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::Node;
use machinery::GroupVersionKind;

crate::kind!(Node);

impl Rules for Node {}

/// The resource `nodes`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Node>()
        .short(&["no"])
        .subresource(
            "proxy",
            Some(GroupVersionKind::new("", "v1", "NodeProxyOptions")),
            &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update],
        )
        .status()
}
