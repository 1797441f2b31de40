//! A job's row.

use crate::common::conditions::is_true;
use crate::common::pod::template;
use crate::common::print::workload_columns;
use crate::common::selector;
use crate::resource::{Column, age_cell, human_duration, name_cell};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::name(),
        Column::new("Status", "string", "How the job is doing."),
        Column::new("Completions", "string", "Pods that succeeded, of all wanted."),
        Column::new("Duration", "string", "How long the job took, or has been running."),
        Column::age(),
    ];
    columns.extend(workload_columns(true));
    columns
}

pub(super) fn cells(job: &Job, now: Timestamp) -> Vec<Value> {
    let (empty_spec, empty_status) = (JobSpec::default(), JobStatus::default());
    let spec = job.spec.as_ref().unwrap_or(&empty_spec);
    let status = job.status.as_ref().unwrap_or(&empty_status);
    let succeeded = status.succeeded.unwrap_or_default();
    let completions = match (spec.completions, spec.parallelism.unwrap_or_default()) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = status.start_time.as_ref().map(|start| {
        let end = status.completion_time.as_ref().map_or(now, |end| end.0);
        human_duration(end.as_second() - start.0.as_second())
    });
    let (names, images) = template::container_cells(Some(&spec.template));
    vec![
        name_cell(job),
        json!(state(job, status)),
        json!(completions),
        json!(duration.unwrap_or_default()),
        age_cell(job, now),
        json!(names),
        json!(images),
        json!(selector::display(spec.selector.as_ref())),
    ]
}

fn state(job: &Job, status: &JobStatus) -> &'static str {
    let is = |condition: &str| is_true(&status.conditions, condition);
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if job.metadata.deletion_timestamp.is_some() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}
