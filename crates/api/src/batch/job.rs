//! `batch/v1` Job.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::batch::v1::Job;

crate::kind!(Job);

impl Rules for Job {}

/// The resource `jobs`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Job>().category("all").status()
}
