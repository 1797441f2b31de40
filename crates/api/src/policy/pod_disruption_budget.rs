//! `policy/v1` PodDisruptionBudget.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

crate::kind!(PodDisruptionBudget);

impl Rules for PodDisruptionBudget {}

/// The resource `poddisruptionbudgets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PodDisruptionBudget>().short(&["pdb"]).status()
}
