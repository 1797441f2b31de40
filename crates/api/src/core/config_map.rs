//! `v1` ConfigMap.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::ConfigMap;

crate::kind!(ConfigMap);

impl Rules for ConfigMap {}

/// The resource `configmaps`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ConfigMap>().short(&["cm"])
}
