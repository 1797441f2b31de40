//! `apps/v1` Deployment.

use crate::common::pod::{defaults, template, warnings};
use crate::common::print::workload_columns;
use crate::common::status;
use crate::common::workload::{validate_same_selector, validate_selector};
use crate::common::{
    default, default_text, first_generation, int_or_percent, next_generation, numbers, selector, text,
};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(Deployment);

const ROLLING: &str = "RollingUpdate";
/// Seconds without progress after which a rollout counts as failed.
const PROGRESS_SECONDS: i32 = 600;

impl Rules for Deployment {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        default(&mut spec.replicas, 1);
        let strategy = spec.strategy.get_or_insert_default();
        default_text(&mut strategy.type_, ROLLING);
        if text(&strategy.type_) == ROLLING {
            let quarter = || IntOrString::String("25%".to_owned());
            let rolling = strategy.rolling_update.get_or_insert_default();
            default(&mut rolling.max_surge, quarter());
            default(&mut rolling.max_unavailable, quarter());
        }
        default(&mut spec.revision_history_limit, 10);
        default(&mut spec.progress_deadline_seconds, PROGRESS_SECONDS);
        defaults::template(&mut spec.template);
    }

    fn prepare_create(&mut self) {
        self.status = Some(DeploymentStatus::default());
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        // Annotations are copied to the replica sets, so they count as desired state here.
        let changed = self.spec != old.spec || self.metadata.annotations != old.metadata.annotations;
        next_generation(&mut self.metadata, &old.metadata, changed);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = DeploymentSpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        if let (Some(new), Some(was)) = (&self.spec, &old.spec) {
            validate_same_selector(&new.selector, &was.selector, errors);
        }
    }

    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let of_all = [
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        status::counts(&of_all, errors);
        let rest = [
            ("replicas", status.replicas),
            ("unavailableReplicas", status.unavailable_replicas),
            ("terminatingReplicas", status.terminating_replicas),
            ("collisionCount", status.collision_count),
        ];
        status::counts(&rest, errors);
        status::counts(&[("observedGeneration", status.observed_generation)], errors);
        status::at_most(&of_all, status.replicas.unwrap_or(0), "status.replicas", errors);
        let ready = status.ready_replicas.unwrap_or(0);
        let available = [("availableReplicas", status.available_replicas)];
        status::at_most(&available, ready, "readyReplicas", errors);
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
            Column::new("Ready", "string", "Pods that are ready, of all wanted."),
            Column::new("Up-to-date", "string", "Pods that follow the latest template."),
            Column::new("Available", "string", "Pods that have been ready long enough."),
            Column::age(),
        ];
        columns.extend(workload_columns(true));
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let empty = DeploymentStatus::default();
        let status = self.status.as_ref().unwrap_or(&empty);
        let spec = self.spec.as_ref();
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or_default();
        let (names, images) = template::container_cells(spec.map(|spec| &spec.template));
        vec![
            name_cell(self),
            json!(format!("{}/{wanted}", status.ready_replicas.unwrap_or_default())),
            json!(status.updated_replicas.unwrap_or_default()),
            json!(status.available_replicas.unwrap_or_default()),
            age_cell(self, now),
            json!(names),
            json!(images),
            json!(selector::display(spec.map(|spec| &spec.selector))),
        ]
    }
}

fn validate_spec(spec: &DeploymentSpec, path: &FieldPath, errors: &mut FieldErrors) {
    numbers::optional_not_negative(spec.replicas, path.child("replicas"), errors);
    validate_selector(&spec.selector, &spec.template, path, errors);
    template::validate_running(&spec.template, "ReplicaSet", &path.child("template"), errors);
    if let Some(strategy) = &spec.strategy {
        validate_strategy(strategy, &path.child("strategy"), errors);
    }
    numbers::optional_not_negative(spec.min_ready_seconds, path.child("minReadySeconds"), errors);
    numbers::optional_not_negative(spec.revision_history_limit, path.child("revisionHistoryLimit"), errors);
    if let Some(seconds) = spec.progress_deadline_seconds {
        let at = path.child("progressDeadlineSeconds");
        numbers::not_negative(seconds, at.clone(), errors);
        if seconds <= spec.min_ready_seconds.unwrap_or_default() {
            errors.invalid(at, seconds, "must be greater than minReadySeconds");
        }
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("rollingUpdate");
    match (text(&strategy.type_), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            errors.forbidden(at, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        (ROLLING, None) => errors.required(at, "this should be defaulted and never be nil"),
        (ROLLING, Some(rolling)) => {
            let zero = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
            let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
            int_or_percent::validate(unavailable, &at.child("maxUnavailable"), errors);
            int_or_percent::validate(surge, &at.child("maxSurge"), errors);
            if int_or_percent::is_zero(unavailable) && int_or_percent::is_zero(surge) {
                errors.invalid(
                    at.child("maxUnavailable"),
                    int_or_percent::printed(unavailable),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            int_or_percent::validate_not_over_100(unavailable, &at.child("maxUnavailable"), errors);
        }
        (other, _) => errors.not_supported(path.child("type"), other, &["Recreate", ROLLING]),
    }
}

/// The resource `deployments`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Deployment>().short(&["deploy"]).category("all").scale().status()
}
