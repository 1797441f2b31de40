//! CronJobs: makes jobs at their times and keeps the history short.

mod schedule;

use crate::common::owners::{controller_reference, enqueue, enqueue_controller, is_controlled_by};
use crate::common::{conditions, pod_control};
use crate::context::Context;
use client::time::seconds;
use client::{DeleteOptions, EventType, Informer, ObjectKey, Propagation, Requeue, run_workers};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job, JobStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use machinery::Status;
use schedule::Schedule;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 5;
/// More missed times than this are not caught up with.
const TOO_MANY: usize = 100;
/// Jobs start a little after their time, so that clocks of others agree that it has come.
const LATE_BY: Duration = Duration::from_millis(100);

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let crons = context.informers.informer::<CronJob>();
    let jobs = context.informers.informer::<Job>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&crons, &queue);
    enqueue_controller::<CronJob, Job>(&jobs, &queue);
    crons.synced().await;
    jobs.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), crons, jobs });
    run_workers("cronjob-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

/// How a job ended: `Complete` or `Failed`.
fn ended_as(job: &Job) -> Option<&'static str> {
    let conditions = &job.status.as_ref()?.conditions;
    ["Complete", "Failed"].into_iter().find(|kind| conditions::is_true(conditions, kind))
}

/// The times between `from` and `now`: the last one, and whether there were too many to count.
fn missed(
    schedule: &Schedule,
    zone: &TimeZone,
    from: Timestamp,
    now: Timestamp,
) -> (Option<Timestamp>, bool) {
    let (mut last, mut count, mut at) = (None, 0, from);
    while let Some(next) = schedule.next(at, zone).filter(|next| *next <= now) {
        count += 1;
        last = Some(next);
        at = next;
        if count > TOO_MANY {
            // Jump close to now instead of walking through years of minutes.
            let near = Timestamp::from_second(now.as_second() - 86_400).unwrap_or(now);
            at = at.max(near);
            if count > TOO_MANY * 20 {
                break;
            }
        }
    }
    (last, count > TOO_MANY)
}

struct Worker {
    context: Context,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(cached) = self.crons.store().get(key) else { return Ok(Requeue::No) };
        let mut owned = self.jobs.store().list_in(&key.namespace);
        owned.retain(|job| is_controlled_by(&job.metadata, &cached.metadata));
        let mut status = cached.status.clone().unwrap_or_default();
        self.observe(&cached, &mut status, &owned);
        self.clean_up(&cached, &owned).await?;
        let requeue = match cached.metadata.deletion_timestamp {
            Some(_) => Ok(Requeue::No),
            None => self.start(&cached, &mut status).await,
        };
        if Some(&status) != cached.status.as_ref() && status != cached.status.clone().unwrap_or_default() {
            let mut changed = CronJob::clone(&cached);
            changed.status = Some(status);
            self.context.client.all::<CronJob>().update_status(&changed).await?;
        }
        requeue
    }

    /// Keeps the list of active jobs.
    fn observe(&self, cron: &CronJob, status: &mut CronJobStatus, owned: &[Arc<Job>]) {
        let tell =
            |reason: &str, text: String| self.context.recorder.event(cron, EventType::Normal, reason, text);
        let active = status.active.get_or_insert_default();
        for job in owned {
            let name = job.metadata.name.as_deref().unwrap_or("");
            let listed = active.iter().position(|reference| reference.uid == job.metadata.uid);
            match (ended_as(job), listed) {
                (Some(kind), Some(at)) => {
                    active.remove(at);
                    tell("SawCompletedJob", format!("Saw completed job: {name}, condition: {kind}"));
                    let end = job.status.as_ref().and_then(|status| status.completion_time.clone());
                    if kind == "Complete"
                        && end.as_ref().map(|t| t.0) > status.last_successful_time.as_ref().map(|t| t.0)
                    {
                        status.last_successful_time = end;
                    }
                }
                (None, None) => {
                    active.push(reference_to(job));
                }
                _ => {}
            }
        }
        active.retain(|reference| {
            let there = owned.iter().any(|job| job.metadata.uid == reference.uid);
            // The cache may not show a job yet that was just made; those are taken out when their deletion shows.
            let fresh = status
                .last_schedule_time
                .as_ref()
                .is_some_and(|time| self.context.now().as_second() - time.0.as_second() < 60);
            if !there && !fresh {
                let name = reference.name.as_deref().unwrap_or("");
                tell("MissingJob", format!("Active job went missing: {name}"));
            }
            there || fresh
        });
        if active.is_empty() {
            status.active = None;
        }
    }

    /// Deletes finished jobs beyond the history limits, the oldest first.
    async fn clean_up(&self, cron: &CronJob, owned: &[Arc<Job>]) -> Result<(), Status> {
        let limits = [
            ("Complete", cron.spec.successful_jobs_history_limit),
            ("Failed", cron.spec.failed_jobs_history_limit),
        ];
        for (kind, limit) in limits {
            let Some(limit) = limit else { continue };
            let mut jobs: Vec<_> = owned.iter().filter(|job| ended_as(job) == Some(kind)).collect();
            jobs.sort_by_key(|job| {
                let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
                (started.map(|time| time.0), job.metadata.name.clone())
            });
            let excess = jobs.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
            for job in &jobs[..excess] {
                self.delete(cron, job.metadata.name.as_deref().unwrap_or("")).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, cron: &CronJob, name: &str) -> Result<(), Status> {
        let api = self.context.client.namespaced::<Job>(cron.metadata.namespace.as_deref().unwrap_or(""));
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        match api.delete_with(name, &options).await {
            Err(status) if status.is_not_found() => Ok(()),
            Err(status) => {
                let text = format!("Deleted job: {status}");
                self.context.recorder.event(cron, EventType::Warning, "FailedDelete", text);
                Err(status)
            }
            Ok(_) => {
                let text = format!("Deleted job {name}");
                self.context.recorder.event(cron, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
        }
    }

    /// Makes the job that is due, if one is; says when to come back.
    async fn start(&self, cron: &CronJob, status: &mut CronJobStatus) -> Result<Requeue, Status> {
        let spec = &cron.spec;
        let tell = |kind, reason: &str, text: String| self.context.recorder.event(cron, kind, reason, text);
        if spec.suspend == Some(true) {
            return Ok(Requeue::No);
        }
        let (schedule, zone) = match parts(spec) {
            Ok(parts) => parts,
            Err((reason, text)) => {
                tell(EventType::Warning, reason, text);
                return Ok(Requeue::No);
            }
        };
        let now = self.context.now();
        let next = schedule.next(now, &zone).map(|next| {
            let left = next.as_second() - now.as_second();
            Duration::from_secs(u64::try_from(left).unwrap_or(0)) + LATE_BY
        });
        let created = cron.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let mut from = status.last_schedule_time.as_ref().map_or(created, |time| time.0);
        if let Some(deadline) = spec.starting_deadline_seconds {
            from = from.max(Timestamp::from_second(now.as_second() - deadline).unwrap_or(from));
        }
        let (due, too_many) = missed(&schedule, &zone, from, now);
        if too_many {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            tell(EventType::Warning, "TooManyMissedTimes", text.to_owned());
        }
        let Some(due) = due else { return Ok(next.into()) };
        let is_late = spec
            .starting_deadline_seconds
            .is_some_and(|deadline| due.as_second() + deadline < now.as_second());
        if is_late {
            let text = format!("Missed scheduled time to start a job: {due}");
            tell(EventType::Warning, "MissSchedule", text);
            return Ok(next.into());
        }
        let active = status.active.clone().unwrap_or_default();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let text =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                tell(EventType::Normal, "JobAlreadyActive", text.to_owned());
                return Ok(next.into());
            }
            Some("Replace") => {
                for reference in &active {
                    self.delete(cron, reference.name.as_deref().unwrap_or("")).await?;
                }
                status.active = None;
            }
            _ => {}
        }
        self.create(cron, status, due, &zone).await?;
        Ok(next.into())
    }

    async fn create(
        &self,
        cron: &CronJob,
        status: &mut CronJobStatus,
        due: Timestamp,
        zone: &TimeZone,
    ) -> Result<(), Status> {
        let job = make_job(cron, due, zone);
        let api = self.context.client.namespaced::<Job>(cron.metadata.namespace.as_deref().unwrap_or(""));
        match api.create(&job).await {
            Ok(created) => {
                let name = created.metadata.name.as_deref().unwrap_or("");
                let text = format!("Created job {name}");
                self.context.recorder.event(cron, EventType::Normal, "SuccessfulCreate", text);
                let active = status.active.get_or_insert_default();
                if !active.iter().any(|reference| reference.uid == created.metadata.uid) {
                    active.push(reference_to(&created));
                }
            }
            // Made before, and the status was not written: the name tells its time.
            Err(failure) if failure.is_already_exists() => {}
            Err(failure) if pod_control::is_namespace_terminating(&failure) => return Ok(()),
            Err(failure) => {
                let text = format!("Error creating job: {failure}");
                self.context.recorder.event(cron, EventType::Warning, "FailedCreate", text);
                return Err(failure);
            }
        }
        status.last_schedule_time = Some(seconds(due));
        Ok(())
    }
}

/// The schedule and time zone, or the reason and message why not.
fn parts(spec: &CronJobSpec) -> Result<(Schedule, TimeZone), (&'static str, String)> {
    let schedule = Schedule::parse(&spec.schedule).map_err(|error| {
        ("UnparseableSchedule", format!("unparseable schedule: {:?} : {error}", spec.schedule))
    })?;
    let zone = match &spec.time_zone {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name)
            .map_err(|error| ("UnknownTimeZone", format!("invalid timeZone: {name:?} : {error}")))?,
    };
    Ok((schedule, zone))
}

fn reference_to(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// The job of a time. Its name holds the time in minutes, so that it is never made twice.
fn make_job(cron: &CronJob, due: Timestamp, zone: &TimeZone) -> Job {
    let template = cron.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut job = Job { spec: template.spec, status: None::<JobStatus>, ..Job::default() };
    job.metadata.name =
        Some(format!("{}-{}", cron.metadata.name.as_deref().unwrap_or(""), due.as_second() / 60));
    job.metadata.namespace = cron.metadata.namespace.clone();
    job.metadata.labels = meta.labels;
    job.metadata.annotations = meta.annotations;
    let stamp =
        due.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z");
    let annotations = job.metadata.annotations.get_or_insert_default();
    annotations.insert("batch.kubernetes.io/cronjob-scheduled-timestamp".to_owned(), stamp);
    job.metadata.owner_references = Some(vec![controller_reference(cron)]);
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;
    use client::Patch;

    async fn world(spec: &str) -> World {
        let world = World::new();
        world.start(run);
        let json = format!(
            r#"{{"apiVersion":"batch/v1","kind":"CronJob","metadata":{{"name":"c"}},"spec":{{{spec}
            "schedule":"* * * * *","timeZone":"Etc/UTC","jobTemplate":{{"spec":{{"template":{{"spec":{{
            "restartPolicy":"Never","containers":[{{"name":"main","image":"image:1"}}]}}}}}}}}}}}}"#
        );
        let cron = CronJob::from_json(json.as_bytes()).unwrap();
        world.client().namespaced::<CronJob>("default").create(&cron).await.unwrap();
        world
    }

    fn names(world: &World) -> Vec<String> {
        world.api.objects::<Job>().iter().filter_map(|job| job.metadata.name.clone()).collect()
    }

    async fn complete(world: &World, name: &str) {
        let now = client::time::time(&*world.clock).0.to_string();
        let patch = serde_json::json!({"status": {"completionTime": now, "startTime": now, "succeeded": 1,
            "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}});
        let jobs = world.client().namespaced::<Job>("default");
        jobs.patch_status(name, Patch::Merge(patch.to_string().into())).await.unwrap();
    }

    #[tokio::test]
    async fn starts_a_job_a_minute_and_keeps_some() {
        let world = world(r#""successfulJobsHistoryLimit":1,"#).await;
        let mut last = String::new();
        for _ in 0..3 {
            world.passing("a new job", || names(&world).last().is_some_and(|name| *name > last)).await;
            last = names(&world).last().cloned().unwrap();
            complete(&world, &last).await;
        }
        world.until("only the last is kept", || names(&world) == [last.clone()]).await;
        let crons = world.api.objects::<CronJob>();
        assert!(crons[0].status.as_ref().unwrap().last_successful_time.is_some());
    }

    #[tokio::test]
    async fn forbidden_overlap_waits() {
        let world = world(r#""concurrencyPolicy":"Forbid","#).await;
        world.passing("the first job", || names(&world).len() == 1).await;
        let told = || {
            let events = world.api.objects::<k8s_openapi::api::core::v1::Event>();
            events.iter().any(|event| event.reason.as_deref() == Some("JobAlreadyActive"))
        };
        world.passing("the second is held back", told).await;
        assert_eq!(names(&world).len(), 1);
    }
}
