//! `coordination.k8s.io/v1` Lease.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::coordination::v1::Lease;

crate::kind!(Lease);

impl Rules for Lease {}

/// The resource `leases`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Lease>()
}
