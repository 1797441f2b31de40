//! `v1` ReplicationController.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::ReplicationController;

crate::kind!(ReplicationController);

impl Rules for ReplicationController {}

/// The resource `replicationcontrollers`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ReplicationController>().short(&["rc"]).category("all").scale().status()
}
