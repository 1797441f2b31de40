//! `batch/v1` Job: defaults, the selector that it generates, printing. Checks are in `validate`.

mod print;
mod success;
pub(super) mod validate;

use crate::common::pod::{defaults, warnings};
use crate::common::{default, default_text, first_generation, next_generation, text};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

crate::kind!(Job);

/// Labels that a job puts on its pods, newer ones first.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
/// How often a failed job is tried again.
const BACKOFF_LIMIT: i32 = 6;

impl Rules for Job {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        default(&mut spec.parallelism, 1);
        let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { BACKOFF_LIMIT };
        default(&mut spec.backoff_limit, limit);
        default_text(&mut spec.completion_mode, "NonIndexed");
        default(&mut spec.suspend, false);
        default(&mut spec.manual_selector, false);
        let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
        default_text(&mut spec.pod_replacement_policy, replacement);
        template_defaults(spec);
        if self.metadata.labels.as_ref().is_none_or(|labels| labels.is_empty()) {
            let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
            self.metadata.labels = labels.filter(|labels| !labels.is_empty());
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(JobStatus::default());
        first_generation(&mut self.metadata);
        generate_selector(self);
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
        let empty = JobSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        validate::validate_generated(self, errors);
        validate::validate_spec(spec, &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        validate::validate_update(self, old, errors);
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        crate::common::status::counts(
            &[
                ("active", status.active),
                ("succeeded", status.succeeded),
                ("failed", status.failed),
                ("ready", status.ready),
                ("terminating", status.terminating),
            ],
            errors,
        );
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let Some(spec) = &self.spec else { return Vec::new() };
        let path = FieldPath::new("spec").child("template");
        warnings::workload(&self.metadata, old.map(|old| &old.metadata), &spec.template, &path)
    }

    fn columns() -> Vec<Column> {
        print::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        print::cells(self, now)
    }
}

/// Fills the template of a job, also of one that a CronJob will make.
pub(super) fn template_defaults(spec: &mut JobSpec) {
    defaults::template(&mut spec.template);
    for rule in spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules) {
        for pattern in rule.on_pod_conditions.iter_mut().flatten() {
            default_text(&mut pattern.status, "True");
        }
    }
}

/// Unless the client selects by itself, a job owns exactly the pods that carry its UID.
fn generate_selector(job: &mut Job) {
    let uid = text(&job.metadata.uid).to_owned();
    let name = text(&job.metadata.name).to_owned();
    let spec = job.spec.get_or_insert_default();
    if spec.manual_selector == Some(true) {
        return;
    }
    let meta = spec.template.metadata.get_or_insert_default();
    let labels = meta.labels.get_or_insert_default();
    for label in NAME_LABELS {
        labels.entry(label.to_owned()).or_insert_with(|| name.clone());
    }
    for label in UID_LABELS {
        labels.entry(label.to_owned()).or_insert_with(|| uid.clone());
    }
    let selector = spec.selector.get_or_insert_default();
    let [newest, _] = UID_LABELS;
    selector.match_labels.get_or_insert_default().entry(newest.to_owned()).or_insert(uid);
}

/// The resource `jobs`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Job>().category("all").status().select::<Job>("status.successful", |job| {
        job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default().to_string()
    })
}
