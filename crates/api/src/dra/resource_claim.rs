//! `resource.k8s.io/v1` ResourceClaim: devices that pods ask for.

use super::requests::{defaults, validate_claim};
use crate::common::items;
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ResourceClaim);

impl Rules for ResourceClaim {
    fn set_defaults(&mut self) {
        defaults(&mut self.spec);
    }

    fn prepare_create(&mut self) {
        self.status = Some(ResourceClaimStatus::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate_claim(&self.spec, &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.immutable(FieldPath::new("spec"), &self.spec, &old.spec, json!({}));
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("State", "string", "Whether devices are allocated and who uses them."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let mut states = Vec::new();
        if self.metadata.deletion_timestamp.is_some() {
            states.push("deleted");
        }
        match self.status.as_ref() {
            Some(status) if status.allocation.is_some() => {
                states.push("allocated");
                if !items(&status.reserved_for).is_empty() {
                    states.push("reserved");
                }
            }
            _ => states.push("pending"),
        }
        vec![name_cell(self), json!(states.join(",")), age_cell(self, now)]
    }
}

/// The resource `resourceclaims`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceClaim>().status()
}
