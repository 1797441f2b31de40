//! `coordination.k8s.io/v1` Lease.

use crate::common::text;
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(Lease);

impl Rules for Lease {
    fn validate_create(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let path = FieldPath::new("spec");
        if let Some(seconds @ ..=0) = spec.lease_duration_seconds {
            errors.invalid(path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        if let Some(transitions @ ..0) = spec.lease_transitions {
            let at = path.child("leaseTransitions");
            errors.invalid(at, transitions, "must be greater than or equal to 0");
        }
        if spec.preferred_holder.is_some() && text(&spec.strategy).is_empty() {
            errors.forbidden(path.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("Holder", "string", "Who holds the lease."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let holder = self.spec.as_ref().map(|spec| text(&spec.holder_identity)).unwrap_or_default();
        vec![name_cell(self), json!(holder), age_cell(self, now)]
    }
}

/// The resource `leases`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Lease>()
}
