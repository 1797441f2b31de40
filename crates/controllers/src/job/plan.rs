//! What a job needs next: pods to make and delete, pods to count, conditions.

use super::indexes;
use super::policy::{Verdict, verdict};
use crate::common::pods::{is_ready, is_terminating, phase};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The finalizer that keeps a pod until it was counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FIRST_BACKOFF: i64 = 10;
const MAX_BACKOFF: i64 = 600;
/// At most this many pods are made at once.
const BURST: i32 = 500;

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    /// Reason and message.
    Failed(String, String),
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to make; with indexes for indexed jobs.
    pub(super) create: Vec<Option<i32>>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Finished pods that are not counted yet.
    pub(super) count: Vec<Arc<Pod>>,
    pub(super) outcome: Option<Outcome>,
    pub(super) active: i32,
    pub(super) ready: i32,
    pub(super) terminating: i32,
    /// Completed indexes, counting pods that finished but are not counted yet.
    pub(super) completed: BTreeSet<i32>,
    /// When to look again.
    pub(super) next: Option<Duration>,
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Whether pods of the job are told apart by index.
pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether the job has ended.
pub(super) fn is_finished(status: &JobStatus) -> bool {
    let ended = |kind: &str| kind == "Complete" || kind == "Failed";
    status.conditions.iter().flatten().any(|condition| ended(&condition.type_) && condition.status == "True")
}

pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn has_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod failed: also when it was deleted before it ran to its end, unless the job waits for the end.
pub(super) fn has_failed(pod: &Pod, only_at_the_end: bool) -> bool {
    phase(pod) == "Failed" || (!only_at_the_end && is_terminating(pod) && phase(pod) != "Succeeded")
}

fn waits_for_end(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Decides.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let is_noted = |pod: &Pod| {
        let all = uncounted.succeeded.iter().flatten().chain(uncounted.failed.iter().flatten());
        all.into_iter().any(|uid| Some(uid) == pod.metadata.uid.as_ref())
    };
    let at_the_end = waits_for_end(&spec);
    let is_done = |pod: &Pod| phase(pod) == "Succeeded" || has_failed(pod, at_the_end);
    let new: Vec<Arc<Pod>> =
        pods.iter().filter(|pod| is_tracked(pod) && is_done(pod) && !is_noted(pod)).cloned().collect();
    let active: Vec<Arc<Pod>> =
        pods.iter().filter(|pod| !has_finished(pod) && !is_terminating(pod)).cloned().collect();
    let terminating: Vec<_> = pods.iter().filter(|pod| is_terminating(pod) && !has_finished(pod)).collect();
    let mut plan = Plan {
        active: number(active.len()),
        ready: number(active.iter().filter(|pod| is_ready(pod)).count()),
        terminating: number(terminating.len()),
        count: new.clone(),
        ..Plan::default()
    };
    let noted = |all: &Option<Vec<String>>| number(all.as_ref().map_or(0, Vec::len));
    let fresh =
        |phase_is: bool| number(new.iter().filter(|pod| (phase(pod) == "Succeeded") == phase_is).count());
    let succeeded = status.succeeded.unwrap_or(0) + noted(&uncounted.succeeded) + fresh(true);
    let counted = |pod: &&Arc<Pod>| phase(pod) != "Succeeded" && verdict(job, pod) != Verdict::Ignore;
    let failed =
        status.failed.unwrap_or(0) + noted(&uncounted.failed) + number(new.iter().filter(counted).count());
    if is_indexed(&spec) {
        let end = spec.completions.unwrap_or(0);
        plan.completed = indexes::parse(status.completed_indexes.as_deref().unwrap_or(""), end);
        let done = pods.iter().filter(|pod| phase(pod) == "Succeeded").filter_map(|pod| index_of(pod));
        plan.completed.extend(done.filter(|index| *index < end));
    }
    plan.outcome = outcome(job, &spec, &plan, pods, (succeeded, failed), now);
    let suspended = spec.suspend == Some(true);
    if plan.outcome.is_some() || suspended || job.metadata.deletion_timestamp.is_some() {
        if job.metadata.deletion_timestamp.is_none() {
            plan.delete = active;
        }
        return plan;
    }
    scale(&spec, &mut plan, active, (succeeded, number(terminating.len())), at_the_end);
    if !plan.create.is_empty()
        && let Some(wait) = backoff(pods, failed, now)
    {
        plan.create.clear();
        plan.next = Some(wait);
    }
    let deadline = spec.active_deadline_seconds.zip(status.start_time.as_ref());
    if let Some((seconds, start)) = deadline {
        let left = start.0.as_second() + seconds - now.as_second();
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1));
        plan.next = Some(plan.next.map_or(left, |next| next.min(left)));
    }
    plan
}

fn failed_outcome(reason: &str, message: impl Into<String>) -> Option<Outcome> {
    Some(Outcome::Failed(reason.to_owned(), message.into()))
}

fn outcome(
    job: &Job,
    spec: &JobSpec,
    plan: &Plan,
    pods: &[Arc<Pod>],
    (succeeded, failed): (i32, i32),
    now: Timestamp,
) -> Option<Outcome> {
    let status = job.status.clone().unwrap_or_default();
    let decided =
        status.conditions.iter().flatten().find(|c| c.type_ == "FailureTarget" && c.status == "True");
    if let Some(target) = decided {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        return Some(Outcome::Failed(text(&target.reason), text(&target.message)));
    }
    let waits = waits_for_end(spec);
    let judged = pods.iter().filter(|pod| has_failed(pod, waits)).find_map(|pod| match verdict(job, pod) {
        Verdict::FailJob(message) => Some(message),
        _ => None,
    });
    if let Some(message) = judged {
        return failed_outcome("PodFailurePolicy", message);
    }
    if failed > spec.backoff_limit.unwrap_or(6) {
        return failed_outcome("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let restarts: i32 = pods
        .iter()
        .filter(|pod| phase(pod) == "Running" || phase(pod) == "Pending")
        .map(|p| restarts(p))
        .sum();
    let in_place =
        spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
    if in_place && restarts > 0 && restarts >= spec.backoff_limit.unwrap_or(6) {
        return failed_outcome("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let age = status.start_time.as_ref().map(|start| now.as_second() - start.0.as_second());
    if spec.suspend != Some(true)
        && spec.active_deadline_seconds.zip(age).is_some_and(|(deadline, age)| age >= deadline)
    {
        return failed_outcome("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let complete = match spec.completions {
        _ if is_indexed(spec) => number(plan.completed.len()) >= spec.completions.unwrap_or(0),
        Some(completions) => succeeded >= completions,
        // Work queues end when one pod succeeded and none runs any more.
        None => succeeded > 0 && plan.active == 0,
    };
    complete.then_some(Outcome::Complete)
}

fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.map(|container| container.restart_count).sum()
}

/// Compares active and wanted pods.
fn scale(
    spec: &JobSpec,
    plan: &mut Plan,
    mut active: Vec<Arc<Pod>>,
    (succeeded, terminating): (i32, i32),
    at_the_end: bool,
) {
    let parallelism = spec.parallelism.unwrap_or(1);
    if is_indexed(spec) {
        // Of two pods with the same index, and of indexes done already, the later pods go.
        let mut seen = BTreeSet::new();
        let completed = plan.completed.clone();
        let (kept, extra): (Vec<_>, Vec<_>) = active.into_iter().partition(|pod| {
            index_of(pod).is_some_and(|index| {
                index < spec.completions.unwrap_or(0) && !completed.contains(&index) && seen.insert(index)
            })
        });
        plan.delete.extend(extra);
        active = kept;
    }
    let running = number(active.len());
    let wanted = match spec.completions {
        None if succeeded > 0 => running.min(parallelism),
        None => parallelism,
        Some(completions) if is_indexed(spec) => {
            (completions - number(plan.completed.len())).min(parallelism)
        }
        Some(completions) => (completions - succeeded).min(parallelism),
    }
    .max(0);
    if running > wanted {
        // Those that have got least far go first.
        active.sort_by_key(|pod| {
            (
                is_ready(pod),
                phase(pod) == "Running",
                pod.metadata.creation_timestamp.as_ref().map(|t| std::cmp::Reverse(t.0)),
            )
        });
        let excess = usize::try_from(running - wanted).unwrap_or(0);
        plan.delete.extend(active.into_iter().take(excess));
        return;
    }
    let held = if at_the_end { terminating } else { 0 };
    let lacking = (wanted - running - held).clamp(0, BURST);
    if !is_indexed(spec) {
        plan.create = (0..lacking).map(|_| None).collect();
        return;
    }
    let taken: BTreeSet<i32> = active.iter().filter_map(|pod| index_of(pod)).collect();
    let free = (0..spec.completions.unwrap_or(0))
        .filter(|index| !plan.completed.contains(index) && !taken.contains(index));
    plan.create = free.take(usize::try_from(lacking).unwrap_or(0)).map(Some).collect();
}

/// How long to wait before the next pod after failures.
fn backoff(pods: &[Arc<Pod>], failed: i32, now: Timestamp) -> Option<Duration> {
    let failures = pods.iter().filter(|pod| phase(pod) == "Failed");
    let ends = failures.filter_map(|pod| finished_at(pod)).max()?;
    let steps = u32::try_from(failed.max(1) - 1).unwrap_or(0).min(10);
    let delay = (FIRST_BACKOFF << steps).min(MAX_BACKOFF);
    let left = ends + delay - now.as_second();
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
}

fn finished_at(pod: &Pod) -> Option<i64> {
    let status = pod.status.as_ref()?;
    let states =
        status.container_statuses.iter().flatten().filter_map(|c| c.state.as_ref()?.terminated.as_ref());
    let ends = states.filter_map(|state| state.finished_at.as_ref().map(|time| time.0.as_second())).max();
    ends.or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|time| time.0.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::pod;
    use k8s_openapi::api::batch::v1::UncountedTerminatedPods;

    fn job(parallelism: i32, completions: Option<i32>, indexed: bool) -> Job {
        let mut job = Job::default();
        let spec = job.spec.get_or_insert_default();
        spec.parallelism = Some(parallelism);
        spec.completions = completions;
        spec.backoff_limit = Some(2);
        spec.completion_mode = indexed.then(|| "Indexed".to_owned());
        job
    }

    fn tracked(name: &str, phase: &str, index: Option<i32>) -> Arc<Pod> {
        let mut pod = Pod::clone(&pod(name, phase, false, 1));
        pod.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        pod.metadata.annotations = index.map(|index| [(INDEX.to_owned(), index.to_string())].into());
        Arc::new(pod)
    }

    fn decide(job: &Job, pods: &[Arc<Pod>]) -> Plan {
        plan(job, pods, Timestamp::from_second(10_000).unwrap())
    }

    #[test]
    fn starts_as_many_as_may_run_and_as_are_left() {
        let job = job(3, Some(4), false);
        assert_eq!(decide(&job, &[]).create.len(), 3);
        let pods =
            [tracked("a", "Running", None), tracked("b", "Succeeded", None), tracked("c", "Succeeded", None)];
        let plan = decide(&job, &pods);
        assert_eq!((plan.create.len(), plan.count.len(), plan.active), (1, 2, 1));
        let all: Vec<_> = (0..4).map(|n| tracked(&n.to_string(), "Succeeded", None)).collect();
        assert_eq!(decide(&job, &all).outcome, Some(Outcome::Complete));
    }

    #[test]
    fn indexes_are_filled_from_below() {
        let mut job = job(2, Some(4), true);
        job.status.get_or_insert_default().completed_indexes = Some("0".to_owned());
        let pods = [tracked("a", "Running", Some(2))];
        assert_eq!(decide(&job, &pods).create, [Some(1)]);
        let twice = [tracked("a", "Running", Some(1)), tracked("b", "Running", Some(1))];
        let plan = decide(&job, &twice);
        assert_eq!((plan.delete.len(), plan.create), (1, vec![Some(2)]));
    }

    #[test]
    fn too_many_failures_end_it_and_counted_ones_stay_counted() {
        let mut job = job(1, Some(1), false);
        let status = job.status.get_or_insert_default();
        status.failed = Some(1);
        status.uncounted_terminated_pods =
            Some(UncountedTerminatedPods { failed: Some(vec!["uid-a".to_owned()]), ..Default::default() });
        let noted = [tracked("a", "Failed", None)];
        assert_eq!(decide(&job, &noted).outcome, None);
        let more = [tracked("a", "Failed", None), tracked("b", "Failed", None)];
        assert!(
            matches!(decide(&job, &more).outcome, Some(Outcome::Failed(reason, _)) if reason == "BackoffLimitExceeded")
        );
    }

    #[test]
    fn a_work_queue_stops_making_pods_after_the_first_success() {
        let job = job(3, None, false);
        let pods = [tracked("a", "Succeeded", None), tracked("b", "Running", None)];
        let plan = decide(&job, &pods);
        assert!(plan.create.is_empty() && plan.outcome.is_none());
        assert_eq!(decide(&job, &pods[..1]).outcome, Some(Outcome::Complete));
    }
}
