//! Jobs: runs pods until enough of them succeeded, and counts each exactly once.
//!
//! Deliberately absent for now, and listed in the gaps: success policies and per-index backoff limits.

mod indexes;
mod plan;
mod policy;
mod status;

use crate::common::expect::Expectations;
use crate::common::owners::{enqueue, enqueue_adopters, enqueue_controller};
use crate::common::{claim, conditions, pod_control, pods};
use crate::context::Context;
use api::common::selector;
use client::{EventType, Informer, ObjectKey, Patch, Requeue, run_workers};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use machinery::Status;
use machinery::labels::Selector;
use plan::{FINALIZER, INDEX, Plan, is_indexed, is_tracked};
use std::sync::Arc;

const WORKERS: usize = 5;
const MANAGED_BY: &str = "kubernetes.io/job-controller";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let jobs = context.informers.informer::<Job>();
    let pods = context.informers.informer::<Pod>();
    pods::index(&pods);
    let queue = context.queue::<ObjectKey>();
    enqueue(&jobs, &queue);
    enqueue_controller::<Job, Pod>(&pods, &queue);
    enqueue_adopters(&pods, &jobs, &queue, |job, meta| selector_of(job).matches(&meta.labels));
    jobs.synced().await;
    pods.synced().await;
    let expectations = Expectations::new(&pods);
    let own = Expectations::new(&jobs);
    let worker = Arc::new(Worker { context: context.clone(), jobs, pods: pods.clone(), expectations, own });
    let orphans = worker.clone();
    // A tracked pod whose job is gone would never be let go.
    let orphan_queue = context.queue::<ObjectKey>();
    let orphaned = orphan_queue.clone();
    pods.on_event(move |event| {
        let pod = event.object();
        if is_tracked(pod) && (pods::is_terminating(pod) || pods::is_terminal(pod)) {
            orphaned.add(ObjectKey::of(&pod.metadata));
        }
    });
    run_workers("job-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    run_workers("job-controller-orphans", 1, &orphan_queue, &context.tasks, move |key| {
        let worker = orphans.clone();
        async move { worker.let_orphan_go(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

fn selector_of(job: &Job) -> Selector {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector::convert(selector).unwrap_or_else(|_| Selector::nothing())
}

struct Worker {
    context: Context,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    expectations: Expectations<Pod>,
    /// Our own writes of the job: a stale status would count pods twice.
    own: Expectations<Job>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(job) = self.jobs.store().get(key) else {
            self.expectations.forget(key);
            self.own.forget(key);
            return Ok(Requeue::No);
        };
        let managed_by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if managed_by.is_some_and(|manager| manager != MANAGED_BY)
            || plan::is_finished(&job.status.clone().unwrap_or_default())
        {
            return Ok(Requeue::No);
        }
        if !self.expectations.settled(key) || !self.own.settled(key) {
            return Ok(Requeue::No);
        }
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let candidates = pods::candidates(&self.pods, &key.namespace, &uid);
        let claimed = claim::plan(&job.metadata, &selector_of(&job), candidates);
        let owned = claim::execute(&self.context.client, &*job, claimed).await?;
        let now = self.context.now();
        let plan = plan::plan(&job, &owned, now);
        let status = status::noted(&job, &plan, now);
        let job = self.write_status(key, &job, status).await?;
        self.remove_finalizers(&job, &owned, &plan).await?;
        let outcome = self.scale(key, &job, &plan).await;
        let mut counted =
            status::counted(&job.status.clone().unwrap_or_default(), plan.outcome.as_ref(), now);
        let created = outcome.as_ref().map_or(0, |created| *created);
        if created > 0 {
            counted.active = Some(counted.active.unwrap_or(0) + created);
        }
        self.tell(&job, &counted);
        self.write_status(key, &job, counted).await?;
        outcome?;
        Ok(plan.next.into())
    }

    async fn write_status(
        &self,
        key: &ObjectKey,
        job: &Arc<Job>,
        status: JobStatus,
    ) -> Result<Arc<Job>, Status> {
        if job.status.as_ref() == Some(&status) {
            return Ok(job.clone());
        }
        let mut changed = Job::clone(job);
        changed.status = Some(status);
        let written = self.context.client.all::<Job>().update_status(&changed).await?;
        self.own.wrote(key, &*written);
        Ok(written)
    }

    /// Says what the conditions that are about to be written mean.
    fn tell(&self, job: &Job, next: &JobStatus) {
        let turned = |kind: &str| {
            let before =
                job.status.as_ref().is_some_and(|status| conditions::is_true(&status.conditions, kind));
            !before && conditions::is_true(&next.conditions, kind)
        };
        let recorder = &self.context.recorder;
        if turned("Complete") {
            recorder.event(job, EventType::Normal, "Completed", "Job completed");
        }
        if turned("Suspended") {
            recorder.event(job, EventType::Normal, "Suspended", "Job suspended");
        }
        if turned("Failed")
            && let Some(condition) = conditions::find(&next.conditions, "Failed")
        {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            recorder.event(job, EventType::Warning, &text(&condition.reason), text(&condition.message));
        }
    }

    /// Lets noted pods go; of a job that ended, all.
    async fn remove_finalizers(&self, job: &Job, owned: &[Arc<Pod>], plan: &Plan) -> Result<(), Status> {
        let noted = job
            .status
            .as_ref()
            .and_then(|status| status.uncounted_terminated_pods.clone())
            .unwrap_or_default();
        let is_noted = |pod: &Pod| {
            let mut all = noted.succeeded.iter().flatten().chain(noted.failed.iter().flatten());
            all.any(|uid| Some(uid) == pod.metadata.uid.as_ref())
        };
        let is_counted =
            |pod: &Arc<Pod>| plan.count.iter().any(|counted| counted.metadata.uid == pod.metadata.uid);
        let removals = owned
            .iter()
            .filter(|pod| is_tracked(pod) && (is_noted(pod) || is_counted(pod)))
            .map(|pod| remove_finalizer(&self.context, pod));
        let failure = futures::future::join_all(removals).await.into_iter().find_map(Result::err);
        failure.map_or(Ok(()), Err)
    }

    /// Makes and deletes pods; answers how many were made.
    async fn scale(&self, key: &ObjectKey, job: &Job, plan: &Plan) -> Result<i32, Status> {
        for pod in &plan.delete {
            pod_control::delete(&self.context, job, pod).await?;
            self.expectations.deleted(key, &**pod);
            if plan.outcome.is_some() {
                // Pods that an ended job stops are not counted.
                remove_finalizer(&self.context, pod).await?;
            }
        }
        let (made, failure) = pod_control::slow_start(plan.create.len(), |at| async move {
            let pod = make_pod(job, plan.create[at]);
            let created = pod_control::create(&self.context, job, pod).await?;
            self.expectations.wrote(key, &*created);
            Ok(())
        })
        .await;
        match failure {
            Some(status) if !pod_control::is_namespace_terminating(&status) => Err(status),
            _ => Ok(i32::try_from(made).unwrap_or(0)),
        }
    }

    /// A tracked pod of no job that still runs here is nobody's to count.
    async fn let_orphan_go(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(pod) = self.pods.store().get(key).filter(|pod| is_tracked(pod)) else {
            return Ok(Requeue::No);
        };
        let owner = crate::common::owners::controller_of(&pod.metadata);
        let job = owner.and_then(|owner| {
            let job = self.jobs.store().find(&key.namespace, &owner.name)?;
            (job.metadata.uid.as_ref() == Some(&owner.uid)).then_some(job)
        });
        let lives = job.is_some_and(|job| {
            !plan::is_finished(&job.status.clone().unwrap_or_default())
                && job.metadata.deletion_timestamp.is_none()
        });
        if !lives {
            if let Some(owner) = owner {
                // The cache may be behind: ask.
                let live = self.context.client.namespaced::<Job>(&key.namespace).get_opt(&owner.name).await?;
                let finished = |job: &Job| plan::is_finished(&job.status.clone().unwrap_or_default());
                if live.is_some_and(|job| job.metadata.uid.as_ref() == Some(&owner.uid) && !finished(&job)) {
                    return Ok(Requeue::No);
                }
            }
            remove_finalizer(&self.context, &pod).await?;
        }
        Ok(Requeue::No)
    }
}

async fn remove_finalizer(context: &Context, pod: &Pod) -> Result<(), Status> {
    let meta = &pod.metadata;
    let api = context.client.namespaced::<Pod>(meta.namespace.as_deref().unwrap_or(""));
    let kept: Vec<_> = meta.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).collect();
    let patch = serde_json::json!({"metadata": {"uid": meta.uid, "finalizers": kept}});
    match api.patch(meta.name.as_deref().unwrap_or(""), Patch::Merge(patch.to_string().into())).await {
        Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
        _ => Ok(()),
    }
}

/// A pod of a job, with its index if it has one.
fn make_pod(job: &Job, index: Option<i32>) -> Pod {
    let spec = job.spec.clone().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or("");
    let mut pod = pods::from_template(&spec.template);
    pod.metadata.generate_name = Some(format!("{name}-"));
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    let Some(index) = index.filter(|_| is_indexed(&spec)) else { return pod };
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(format!("{name}-{index}"));
    let variable = EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.labels['{INDEX}']"),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    for container in pod_spec.containers.iter_mut().chain(pod_spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if !env.iter().any(|known| known.name == variable.name) {
            env.push(variable.clone());
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;

    async fn finish(world: &World, pod: &Pod, phase: &str) {
        let now = client::time::time(&*world.clock).0.to_string();
        let patch = serde_json::json!({"status": {"phase": phase, "containerStatuses": [{
            "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": i32::from(phase == "Failed"), "finishedAt": now}},
        }]}});
        let api = world.client().namespaced::<Pod>("default");
        api.patch_status(pod.metadata.name.as_deref().unwrap(), Patch::Merge(patch.to_string().into()))
            .await
            .unwrap();
    }

    fn job(spec: &str) -> Job {
        let json = format!(
            r#"{{"apiVersion":"batch/v1","kind":"Job","metadata":{{"name":"j"}},"spec":{{{spec}"template":{{"spec":{{
                "restartPolicy":"Never","containers":[{{"name":"main","image":"image:1"}}]}}}}}}}}"#
        );
        Job::from_json(json.as_bytes()).unwrap()
    }

    fn status(world: &World) -> JobStatus {
        world.api.objects::<Job>()[0].status.clone().unwrap_or_default()
    }

    fn running(world: &World) -> Vec<Arc<Pod>> {
        world.api.objects::<Pod>().into_iter().filter(|pod| !pods::is_terminal(pod)).collect()
    }

    #[tokio::test]
    async fn an_indexed_job_completes_and_counts_each_pod_once() {
        let world = World::new();
        world.start(run);
        let spec = r#""completions":3,"parallelism":2,"completionMode":"Indexed","#;
        world.client().namespaced::<Job>("default").create(&job(spec)).await.unwrap();
        for done in 1..=3 {
            world.until("a pod runs", || !running(&world).is_empty()).await;
            finish(&world, &running(&world)[0], "Succeeded").await;
            world.until("it is counted", || status(&world).succeeded == Some(done)).await;
        }
        let ended = || conditions::is_true(&status(&world).conditions, "Complete");
        world.until("the job is complete", ended).await;
        assert_eq!(status(&world).completed_indexes.as_deref(), Some("0-2"));
        assert_eq!(status(&world).active, None);
        assert!(world.api.objects::<Pod>().iter().all(|pod| !is_tracked(pod)));
    }

    #[tokio::test]
    async fn failures_back_off_and_end_the_job() {
        let world = World::new();
        world.start(run);
        world.client().namespaced::<Job>("default").create(&job(r#""backoffLimit":1,"#)).await.unwrap();
        for failed in 1..=2 {
            world.passing("a pod runs", || !running(&world).is_empty()).await;
            finish(&world, &running(&world)[0], "Failed").await;
            world.until("it is counted", || status(&world).failed == Some(failed)).await;
        }
        let ended = || conditions::find(&status(&world).conditions, "Failed").and_then(|c| c.reason.clone());
        world.until("the job has failed", || ended().as_deref() == Some("BackoffLimitExceeded")).await;
    }
}
