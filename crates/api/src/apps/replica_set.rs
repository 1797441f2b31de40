//! `apps/v1` ReplicaSet.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::apps::v1::ReplicaSet;

crate::kind!(ReplicaSet);

impl Rules for ReplicaSet {}

/// The resource `replicasets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ReplicaSet>().short(&["rs"]).category("all").scale().status()
}
