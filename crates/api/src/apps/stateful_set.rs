//! `apps/v1` StatefulSet.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::apps::v1::StatefulSet;

crate::kind!(StatefulSet);

impl Rules for StatefulSet {}

/// The resource `statefulsets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<StatefulSet>().short(&["sts"]).category("all").scale().status()
}
