//! `batch/v1` CronJob.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::batch::v1::CronJob;

crate::kind!(CronJob);

impl Rules for CronJob {}

/// The resource `cronjobs`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CronJob>().short(&["cj"]).category("all").status()
}
