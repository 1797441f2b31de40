//! A job's status: conditions, and counting finished pods exactly once.
//!
//! Counting takes three steps (KEP-2307): a finished pod's UID is noted in the status, its finalizer is removed, then the
//! noted UID becomes a count. Whatever step is interrupted, no pod is lost and none counts twice.

use super::indexes;
use super::plan::{Outcome, Plan, is_indexed};
use super::policy::{Verdict, verdict};
use crate::common::conditions;
use crate::common::pods::phase;
use client::time::seconds;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};

/// The status with the plan's numbers and newly finished pods noted.
pub(super) fn noted(job: &Job, plan: &Plan, now: Timestamp) -> JobStatus {
    let spec = job.spec.clone().unwrap_or_default();
    let mut status = job.status.clone().unwrap_or_default();
    let suspended = spec.suspend == Some(true);
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(seconds(now));
    }
    suspend(&mut status, suspended, now);
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    for pod in &plan.count {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if phase(pod) == "Succeeded" {
            uncounted.succeeded.get_or_insert_default().push(uid);
        } else if verdict(job, pod) != Verdict::Ignore {
            uncounted.failed.get_or_insert_default().push(uid);
        }
    }
    if is_indexed(&spec) {
        status.completed_indexes = Some(indexes::format(&plan.completed)).filter(|text| !text.is_empty());
    }
    let ending = plan.outcome.is_some() || suspended;
    let deleted = i32::try_from(plan.delete.len()).unwrap_or(0);
    let active = if ending { 0 } else { (plan.active - deleted).max(0) };
    status.active = (active != 0).then_some(active);
    status.ready = Some(if ending { 0 } else { plan.ready });
    status.terminating = Some(plan.terminating + if ending { plan.active } else { deleted });
    match &plan.outcome {
        Some(Outcome::Complete) => {
            let message = "Reached expected number of succeeded pods";
            put(&mut status, "SuccessCriteriaMet", "True", "CompletionsReached", message, now);
        }
        Some(Outcome::Failed(reason, message)) => {
            put(&mut status, "FailureTarget", "True", reason, message, now);
        }
        None => {}
    }
    status
}

fn put(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let mut condition: JobCondition = conditions::new(kind, value, reason, message, now);
    condition.last_probe_time = condition.last_transition_time.clone();
    conditions::set(&mut status.conditions, condition);
}

fn suspend(status: &mut JobStatus, suspended: bool, now: Timestamp) {
    let known = conditions::is_true(&status.conditions, "Suspended");
    if suspended && !known {
        put(status, "Suspended", "True", "JobSuspended", "Job suspended", now);
        status.start_time = None;
    } else if !suspended && known {
        put(status, "Suspended", "False", "JobResumed", "Job resumed", now);
        status.start_time = Some(seconds(now));
    }
}

/// The status after the finalizers of all noted pods are gone: noted pods become counts, and a decided job whose pods are
/// all gone ends.
pub(super) fn counted(status: &JobStatus, outcome: Option<&Outcome>, now: Timestamp) -> JobStatus {
    let mut next = status.clone();
    let uncounted = next.uncounted_terminated_pods.take().unwrap_or_default();
    let add = |count: &mut Option<i32>, uids: Option<Vec<String>>| {
        let more = i32::try_from(uids.map_or(0, |uids| uids.len())).unwrap_or(0);
        if more > 0 {
            *count = Some(count.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut next.succeeded, uncounted.succeeded);
    add(&mut next.failed, uncounted.failed);
    next.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
    let waits = next.terminating.unwrap_or(0) > 0;
    match outcome {
        Some(Outcome::Complete) if !waits => {
            let message = "Reached expected number of succeeded pods";
            put(&mut next, "Complete", "True", "CompletionsReached", message, now);
            next.completion_time = Some(seconds(now));
        }
        Some(Outcome::Failed(reason, message)) if !waits => {
            put(&mut next, "Failed", "True", reason, message, now)
        }
        _ => {}
    }
    next
}
