//! `storage.k8s.io/v1` CSINode.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::storage::v1::CSINode;

crate::kind!(CSINode);

impl Rules for CSINode {}

/// The resource `csinodes`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CSINode>()
}
