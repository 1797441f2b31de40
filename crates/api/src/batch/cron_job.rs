//! `batch/v1` CronJob.

use super::job::{template_defaults, validate};
use super::schedule;
use crate::common::pod::{template, warnings};
use crate::common::print::{or_none, since, workload_columns};
use crate::common::{default, default_text, first_generation, items, next_generation, numbers, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(CronJob);

/// Longest name: the jobs' names append a dash and a time to it, and must fit a label.
const MAX_NAME: usize = 52;
const POLICIES: &[&str] = &["Allow", "Forbid", "Replace"];

impl Rules for CronJob {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        default_text(&mut spec.concurrency_policy, "Allow");
        default(&mut spec.suspend, false);
        default(&mut spec.successful_jobs_history_limit, 3);
        default(&mut spec.failed_jobs_history_limit, 1);
        default(&mut spec.job_template.metadata, Default::default());
        template_defaults(spec.job_template.spec.get_or_insert_default());
    }

    fn prepare_create(&mut self) {
        self.status = Some(CronJobStatus::default());
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
        let name = text(&self.metadata.name);
        if name.len() > MAX_NAME {
            let at = FieldPath::new("metadata").child("name");
            errors.invalid(at, name, format!("must be no more than {MAX_NAME} characters"));
        }
        validate_spec(self, errors);
    }

    fn validate_update(&self, _: &Self, errors: &mut FieldErrors) {
        validate_spec(self, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let Some(job) = &self.spec.job_template.spec else { return Vec::new() };
        if old.is_some_and(|old| old.spec == self.spec) {
            return Vec::new();
        }
        let path = FieldPath::new("spec").child("jobTemplate").child("spec").child("template");
        let name = text(&self.metadata.name);
        let of_name = if old.is_none() { warnings::host_name(name, "Pod names and hostnames") } else { None };
        of_name.into_iter().chain(warnings::template(&job.template, &path)).collect()
    }

    fn columns() -> Vec<Column> {
        let mut columns = vec![
            Column::name(),
            Column::new("Schedule", "string", "When jobs start."),
            Column::new("Timezone", "string", "Time zone of the schedule."),
            Column::new("Suspend", "boolean", "Whether no jobs start for now."),
            Column::new("Active", "integer", "Jobs that run."),
            Column::new("Last Schedule", "string", "Time since a job last started."),
            Column::age(),
        ];
        columns.extend(workload_columns(true));
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let status = self.status.as_ref();
        let last = status.and_then(|status| status.last_schedule_time.as_ref());
        let job = self.spec.job_template.spec.as_ref();
        let (names, images) = template::container_cells(job.map(|job| &job.template));
        let suspend = match self.spec.suspend {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        vec![
            name_cell(self),
            json!(self.spec.schedule),
            or_none(text(&self.spec.time_zone)),
            json!(suspend),
            json!(status.map_or(0, |status| items(&status.active).len())),
            json!(last.map_or_else(|| "<none>".to_owned(), |last| since(Some(last), now))),
            age_cell(self, now),
            json!(names),
            json!(images),
            json!(crate::common::selector::display(job.and_then(|job| job.selector.as_ref()))),
        ]
    }
}

fn validate_spec(cron: &CronJob, errors: &mut FieldErrors) {
    let (spec, path) = (&cron.spec, FieldPath::new("spec"));
    let at = path.child("schedule");
    if spec.schedule.is_empty() {
        errors.required(at, "");
    } else if spec.schedule.contains("TZ") {
        errors.invalid(
            at,
            &spec.schedule,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        );
    } else if let Err(why) = schedule::Schedule::parse(&spec.schedule) {
        errors.invalid(at, &spec.schedule, why);
    }
    if let Some(zone) = &spec.time_zone {
        let at = path.child("timeZone");
        if zone.is_empty() {
            errors.invalid(at, zone, "timeZone must be nil or non-empty string");
        } else if zone.eq_ignore_ascii_case("local") {
            errors.invalid(
                at,
                zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            );
        } else if TimeZone::get(zone).is_err() {
            errors.invalid(at, zone, format!("unknown time zone {zone}"));
        }
    }
    numbers::optional_not_negative(
        spec.starting_deadline_seconds,
        path.child("startingDeadlineSeconds"),
        errors,
    );
    match text(&spec.concurrency_policy) {
        "" => errors.required(path.child("concurrencyPolicy"), ""),
        policy if !POLICIES.contains(&policy) => {
            errors.not_supported(path.child("concurrencyPolicy"), policy, POLICIES);
        }
        _ => {}
    }
    for (field, value) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        numbers::optional_not_negative(value, path.child(field), errors);
    }
    if let Some(job) = &spec.job_template.spec {
        let at = path.child("jobTemplate").child("spec");
        validate::validate_spec(job, &at, errors);
        if job.manual_selector == Some(true) {
            errors.not_supported(at.child("manualSelector"), true, &["nil", "false"]);
        }
    }
}

/// The resource `cronjobs`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CronJob>().short(&["cj"]).category("all").status()
}
