//! `apps/v1` DaemonSet.

use crate::common::pod::{defaults, template, warnings};
use crate::common::print::workload_columns;
use crate::common::status;
use crate::common::workload::{validate_same_selector, validate_selector};
use crate::common::{
    default, default_text, first_generation, int_or_percent, next_generation, numbers, selector, text,
};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(DaemonSet);

const ROLLING: &str = "RollingUpdate";

impl Rules for DaemonSet {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        let strategy = spec.update_strategy.get_or_insert_default();
        default_text(&mut strategy.type_, ROLLING);
        if text(&strategy.type_) == ROLLING {
            let rolling = strategy.rolling_update.get_or_insert_default();
            default(&mut rolling.max_unavailable, IntOrString::Int(1));
            default(&mut rolling.max_surge, IntOrString::Int(0));
        }
        default(&mut spec.revision_history_limit, 10);
        defaults::template(&mut spec.template);
    }

    fn prepare_create(&mut self) {
        self.status = Some(DaemonSetStatus::default());
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
        let empty = DaemonSetSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        validate_selector(&spec.selector, &spec.template, &path, errors);
        template::validate_running(&spec.template, "DaemonSet", &path.child("template"), errors);
        numbers::optional_not_negative(spec.min_ready_seconds, path.child("minReadySeconds"), errors);
        if let Some(strategy) = &spec.update_strategy {
            validate_strategy(strategy, &path.child("updateStrategy"), errors);
        }
        numbers::optional_not_negative(
            spec.revision_history_limit,
            path.child("revisionHistoryLimit"),
            errors,
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        if let (Some(new), Some(was)) = (&self.spec, &old.spec) {
            validate_same_selector(&new.selector, &was.selector, errors);
        }
    }

    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let counts = [
            ("currentNumberScheduled", Some(status.current_number_scheduled)),
            ("numberMisscheduled", Some(status.number_misscheduled)),
            ("desiredNumberScheduled", Some(status.desired_number_scheduled)),
            ("numberReady", Some(status.number_ready)),
            ("updatedNumberScheduled", status.updated_number_scheduled),
            ("numberAvailable", status.number_available),
            ("numberUnavailable", status.number_unavailable),
            ("collisionCount", status.collision_count),
        ];
        status::counts(&counts, errors);
        status::counts(&[("observedGeneration", status.observed_generation)], errors);
        let was = old.status.as_ref().and_then(|status| status.collision_count);
        status::collisions(status.collision_count, was, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let Some(spec) = &self.spec else { return Vec::new() };
        let path = FieldPath::new("spec").child("template");
        warnings::workload(&self.metadata, old.map(|old| &old.metadata), &spec.template, &path)
    }

    fn columns() -> Vec<Column> {
        let mut columns = vec![
            Column::name(),
            Column::new("Desired", "integer", "Nodes that should run a pod."),
            Column::new("Current", "integer", "Nodes that should run a pod and do."),
            Column::new("Ready", "integer", "Nodes whose pod is ready."),
            Column::new("Up-to-date", "integer", "Nodes whose pod follows the latest template."),
            Column::new("Available", "integer", "Nodes whose pod has been ready long enough."),
            Column::new("Node Selector", "string", "Labels of the nodes."),
            Column::age(),
        ];
        columns.extend(workload_columns(true));
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let empty = DaemonSetStatus::default();
        let status = self.status.as_ref().unwrap_or(&empty);
        let spec = self.spec.as_ref();
        let (names, images) = template::container_cells(spec.map(|spec| &spec.template));
        let nodes =
            spec.and_then(|spec| spec.template.spec.as_ref()).and_then(|pod| pod.node_selector.clone());
        vec![
            name_cell(self),
            json!(status.desired_number_scheduled),
            json!(status.current_number_scheduled),
            json!(status.number_ready),
            json!(status.updated_number_scheduled.unwrap_or_default()),
            json!(status.number_available.unwrap_or_default()),
            json!(selector::display_labels(&nodes)),
            age_cell(self, now),
            json!(names),
            json!(images),
            json!(selector::display(spec.map(|spec| &spec.selector))),
        ]
    }
}

fn validate_strategy(strategy: &DaemonSetUpdateStrategy, path: &FieldPath, errors: &mut FieldErrors) {
    match (text(&strategy.type_), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        (ROLLING, None) => errors.required(path.child("rollingUpdate"), ""),
        (ROLLING, Some(rolling)) => {
            let at = path.child("rollingUpdate");
            let zero = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
            let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
            for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
                int_or_percent::validate(value, &at.child(field), errors);
                int_or_percent::validate_not_over_100(value, &at.child(field), errors);
            }
            match (int_or_percent::is_zero(unavailable), int_or_percent::is_zero(surge)) {
                (true, true) => {
                    errors.required(at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (false, false) => errors.invalid(
                    at.child("maxSurge"),
                    int_or_percent::printed(surge),
                    "may not be set when maxUnavailable is non-zero",
                ),
                _ => {}
            }
        }
        (other, _) => errors.not_supported(path.child("type"), other, &["OnDelete", ROLLING]),
    }
}

/// The resource `daemonsets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<DaemonSet>().short(&["ds"]).category("all").status()
}
