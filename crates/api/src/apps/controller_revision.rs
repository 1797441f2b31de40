//! `apps/v1` ControllerRevision: a snapshot of a workload's template; its data never changes.

use crate::common::{items, numbers, print::or_none};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ControllerRevision);

impl Rules for ControllerRevision {
    fn validate_create(&self, errors: &mut FieldErrors) {
        if self.data.is_none() {
            errors.required(FieldPath::new("data"), "data is mandatory");
        }
        numbers::not_negative(self.revision, FieldPath::new("revision"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        errors.immutable(FieldPath::new("data"), &self.data, &old.data, json!({}));
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Controller", "string", "The workload that it belongs to."),
            Column::new("Revision", "string", "Number of the revision."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let owner =
            items(&self.metadata.owner_references).iter().find(|owner| owner.controller == Some(true));
        let owner = owner.map(|owner| {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
        });
        vec![
            name_cell(self),
            or_none(owner.as_deref().unwrap_or_default()),
            json!(self.revision),
            age_cell(self, now),
        ]
    }
}

/// The resource `controllerrevisions`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ControllerRevision>()
}
