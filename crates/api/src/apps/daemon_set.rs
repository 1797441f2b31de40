//! `apps/v1` DaemonSet.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::apps::v1::DaemonSet;

crate::kind!(DaemonSet);

impl Rules for DaemonSet {}

/// The resource `daemonsets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<DaemonSet>().short(&["ds"]).category("all").status()
}
