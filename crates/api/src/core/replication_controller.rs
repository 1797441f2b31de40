//! `v1` ReplicationController.

use crate::common::pod::{defaults, template, warnings};
use crate::common::print::workload_columns;
use crate::common::{default, first_generation, next_generation, numbers, selector, status};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::jiff::Timestamp;
use machinery::labels::Selector;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ReplicationController);

impl Rules for ReplicationController {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        let labels = spec.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.clone());
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            // What the pods are labelled with is what it selects and is labelled with itself.
            if spec.selector.as_ref().is_none_or(|selector| selector.is_empty()) {
                spec.selector = Some(labels.clone());
            }
            if self.metadata.labels.as_ref().is_none_or(|own| own.is_empty()) {
                self.metadata.labels = Some(labels);
            }
        }
        default(&mut spec.replicas, 1);
        if let Some(template) = &mut spec.template {
            defaults::template(template);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(ReplicationControllerStatus::default());
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
        let empty = ReplicationControllerSpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let of_all = [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        status::counts(&[("replicas", Some(status.replicas))], errors);
        status::counts(&of_all, errors);
        status::counts(&[("observedGeneration", status.observed_generation)], errors);
        status::at_most(&of_all, status.replicas, "status.replicas", errors);
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
            json!(selector::display_labels(&spec.and_then(|spec| spec.selector.clone()))),
        ]
    }
}

fn validate_spec(spec: &ReplicationControllerSpec, path: &FieldPath, errors: &mut FieldErrors) {
    numbers::optional_not_negative(spec.min_ready_seconds, path.child("minReadySeconds"), errors);
    let empty = Default::default();
    let wanted = spec.selector.as_ref().unwrap_or(&empty);
    if wanted.is_empty() {
        errors.required(path.child("selector"), "");
    }
    numbers::optional_not_negative(spec.replicas, path.child("replicas"), errors);
    let at = path.child("template");
    let Some(pod) = &spec.template else {
        errors.required(at, "");
        return;
    };
    validate_labels(wanted, pod, &at, errors);
    template::validate_running(pod, "ReplicationController", &at, errors);
}

fn validate_labels(
    wanted: &std::collections::BTreeMap<String, String>,
    pod: &PodTemplateSpec,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let labels = pod.metadata.as_ref().and_then(|meta| meta.labels.clone());
    if Selector::from_labels(wanted).is_ok_and(|s| !s.is_everything() && !s.matches(&labels)) {
        errors.invalid(
            path.child("metadata").child("labels"),
            crate::common::json::map(&labels),
            "`selector` does not match template `labels`",
        );
    }
}

/// The resource `replicationcontrollers`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ReplicationController>()
        .short(&["rc"])
        .category("all")
        .scale()
        .status()
        .select::<ReplicationController>("status.replicas", |rc| {
        rc.status.as_ref().map_or(0, |status| status.replicas).to_string()
    })
}
