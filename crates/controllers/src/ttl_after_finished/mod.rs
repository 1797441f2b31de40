//! Deletes finished jobs when their time to live has passed.

use crate::common::conditions;
use crate::common::owners::enqueue;
use crate::context::Context;
use client::{DeleteOptions, ObjectKey, Propagation, Requeue, run_workers};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use machinery::Status;
use std::time::Duration;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let jobs = context.informers.informer::<Job>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&jobs, &queue);
    jobs.synced().await;
    let worker = context.clone();
    run_workers("ttl-after-finished-controller", 5, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, jobs) = (worker.clone(), jobs.clone());
        async move {
            let Some(job) = jobs.store().get(&key) else { return Ok(Requeue::No) };
            match time_left(&job, context.now()) {
                None => Ok(Requeue::No),
                Some(left) if !left.is_zero() => Ok(Requeue::After(left)),
                Some(_) => delete(&context, &key, &job).await,
            }
        }
    });
    context.tasks.stopping().cancelled().await;
}

/// How long the job may still stay; `None` when nothing limits it.
fn time_left(job: &Job, now: Timestamp) -> Option<Duration> {
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let seconds = i64::from(job.spec.as_ref()?.ttl_seconds_after_finished?);
    let all = &job.status.as_ref()?.conditions;
    let ended = ["Complete", "Failed"].iter().find(|kind| conditions::is_true(all, kind))?;
    let at = conditions::find(all, ended)?.last_transition_time.as_ref()?.0.as_second();
    Some(Duration::from_secs(u64::try_from(at + seconds - now.as_second()).unwrap_or(0)))
}

async fn delete(context: &Context, key: &ObjectKey, job: &Job) -> Result<Requeue, Status> {
    let options = DeleteOptions {
        uid: job.metadata.uid.clone(),
        // Only as it was seen: the time to live may just have been raised.
        resource_version: job.metadata.resource_version.clone(),
        propagation: Some(Propagation::Foreground),
        ..DeleteOptions::default()
    };
    match context.client.namespaced::<Job>(&key.namespace).delete_with(&key.name, &options).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(Requeue::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    #[test]
    fn time_counts_from_the_end() {
        let job = |status: &str| {
            let json = format!(
                r#"{{"apiVersion":"batch/v1","kind":"Job","metadata":{{}},"spec":{{"ttlSecondsAfterFinished":100,
                "template":{{}}}},"status":{{"conditions":[{{"type":"Complete","status":"{status}",
                "lastTransitionTime":"1970-01-01T00:16:40Z"}}]}}}}"#
            );
            Job::from_json(json.as_bytes()).unwrap()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(time_left(&job("True"), at(1040)), Some(Duration::from_secs(60)));
        assert_eq!(time_left(&job("True"), at(5000)), Some(Duration::ZERO));
        assert_eq!(time_left(&job("False"), at(5000)), None);
    }
}
