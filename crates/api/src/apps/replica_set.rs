//! `apps/v1` ReplicaSet.

use crate::common::pod::{defaults, template, warnings};
use crate::common::print::workload_columns;
use crate::common::workload::{validate_same_selector, validate_selector};
use crate::common::{default, first_generation, next_generation, numbers, selector};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ReplicaSet);

impl Rules for ReplicaSet {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        default(&mut spec.replicas, 1);
        if let Some(template) = &mut spec.template {
            defaults::template(template);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(ReplicaSetStatus::default());
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = ReplicaSetSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        numbers::optional_not_negative(spec.replicas, path.child("replicas"), errors);
        numbers::optional_not_negative(spec.min_ready_seconds, path.child("minReadySeconds"), errors);
        match &spec.template {
            None => errors.required(path.child("template"), ""),
            Some(template) => {
                validate_selector(&spec.selector, template, &path, errors);
                template::validate_running(template, "ReplicaSet", &path.child("template"), errors);
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        if let (Some(new), Some(was)) = (&self.spec, &old.spec) {
            validate_same_selector(&new.selector, &was.selector, errors);
        }
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let path = FieldPath::new("status");
        let over = |count: Option<i32>| count.is_some_and(|count| count > status.replicas);
        for (field, count) in [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            numbers::optional_not_negative(count, path.child(field), errors);
            if over(count) {
                let count = count.unwrap_or_default();
                errors.invalid(path.child(field), count, "cannot be greater than status.replicas");
            }
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let Some(template) = self.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
            return Vec::new();
        };
        let path = FieldPath::new("spec").child("template");
        warnings::workload(&self.metadata, old.map(|old| &old.metadata), template, &path)
    }

    fn columns() -> Vec<Column> {
        let mut columns = vec![
            Column::name(),
            Column::new("Desired", "integer", "How many pods it should have."),
            Column::new("Current", "integer", "How many pods it has."),
            Column::new("Ready", "integer", "How many pods are ready."),
            Column::age(),
        ];
        columns.extend(workload_columns(true));
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let status = self.status.as_ref();
        let (names, images) = template::container_cells(spec.and_then(|spec| spec.template.as_ref()));
        vec![
            name_cell(self),
            json!(spec.and_then(|spec| spec.replicas).unwrap_or_default()),
            json!(status.map_or(0, |status| status.replicas)),
            json!(status.and_then(|status| status.ready_replicas).unwrap_or_default()),
            age_cell(self, now),
            json!(names),
            json!(images),
            json!(selector::display(spec.map(|spec| &spec.selector))),
        ]
    }
}

/// The resource `replicasets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ReplicaSet>()
        .short(&["rs"])
        .category("all")
        .scale()
        .status()
        .select::<ReplicaSet>("status.replicas", |set| {
            set.status.as_ref().map_or(0, |status| status.replicas).to_string()
        })
}
