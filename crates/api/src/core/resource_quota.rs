//! `v1` ResourceQuota.

use crate::common::pod::resources;
use crate::common::{amounts, items};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ResourceQuota);

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

impl Rules for ResourceQuota {
    fn set_defaults(&mut self) {
        amounts::normalize_all([&mut self.spec.get_or_insert_default().hard]);
        if let Some(status) = &mut self.status {
            amounts::normalize_all([&mut status.hard, &mut status.used]);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(ResourceQuotaStatus::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        let Some(spec) = &self.spec else { return };
        for (name, amount) in spec.hard.iter().flatten() {
            let at = path.child("hard").key(name);
            // `count/<resource>.<group>` counts objects of any kind.
            if !name.starts_with("count/") {
                resources::resource_name(name, &at, errors);
            }
            resources::amount(name, amount, &at, errors);
        }
        for scope in items(&spec.scopes) {
            if !SCOPES.contains(&scope.as_str()) {
                errors.invalid(
                    path.child("scopes"),
                    crate::common::json::list(items(&spec.scopes)),
                    "unsupported scope",
                );
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let scopes = |quota: &Self| {
            let mut scopes = quota.spec.as_ref().map(|s| items(&s.scopes).to_vec()).unwrap_or_default();
            scopes.sort();
            scopes
        };
        let (new, was) = (scopes(self), scopes(old));
        errors.immutable(FieldPath::new("spec").child("scopes"), &new, &was, crate::common::json::list(&new));
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Request", "string", "What is used and allowed of requests and counts."),
            Column::new("Limit", "string", "What is used and allowed of limits."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let empty = ResourceQuotaSpec::default();
        let status = self.status.as_ref();
        let hard =
            status.and_then(|s| s.hard.as_ref()).or(self.spec.as_ref().unwrap_or(&empty).hard.as_ref());
        let used = status.and_then(|status| status.used.as_ref());
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in hard.into_iter().flatten() {
            let used =
                used.and_then(|used| used.get(name)).map_or_else(|| "0".to_owned(), amounts::canonical);
            let text = format!("{name}: {used}/{}", amounts::canonical(hard));
            if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        vec![name_cell(self), json!(requests.join(", ")), json!(limits.join(", ")), age_cell(self, now)]
    }
}

/// The resource `resourcequotas`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceQuota>().short(&["quota"]).status()
}
