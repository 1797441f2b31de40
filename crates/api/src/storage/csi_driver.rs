//! `storage.k8s.io/v1` CSIDriver.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::storage::v1::CSIDriver;

crate::kind!(CSIDriver);

impl Rules for CSIDriver {}

/// The resource `csidrivers`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CSIDriver>()
}
