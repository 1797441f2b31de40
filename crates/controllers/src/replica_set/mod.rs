//! Keeps the number of pods that a ReplicaSet or ReplicationController wants.

mod plan;
mod workload;

pub(crate) use workload::Workload;

use crate::common::expect::Expectations;
use crate::common::owners::{enqueue, enqueue_adopters, enqueue_controller};
use crate::common::pods::{self, is_active, node_of};
use crate::common::{claim, pod_control};
use crate::context::Context;
use client::{Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use machinery::Status;
use std::collections::HashMap;
use std::sync::Arc;

const WORKERS: usize = 5;

/// Runs the controller of ReplicaSets.
pub(crate) async fn run(context: Context) {
    run_for::<ReplicaSet>(context).await;
}

/// Runs the controller of ReplicationControllers.
pub(crate) async fn run_replication(context: Context) {
    run_for::<ReplicationController>(context).await;
}

async fn run_for<W: Workload>(context: Context) {
    let workloads = context.informers.informer::<W>();
    let pods = context.informers.informer::<Pod>();
    pods::index(&pods);
    let queue = context.queue::<ObjectKey>();
    enqueue(&workloads, &queue);
    enqueue_controller::<W, Pod>(&pods, &queue);
    enqueue_adopters(&pods, &workloads, &queue, |workload, meta| workload.selector().matches(&meta.labels));
    workloads.synced().await;
    pods.synced().await;
    let expectations = Expectations::new(&pods);
    let worker = Arc::new(Worker { context: context.clone(), workloads, pods, expectations });
    run_workers(W::COMPONENT, WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker<W: Workload> {
    context: Context,
    workloads: Informer<W>,
    pods: Informer<Pod>,
    expectations: Expectations<Pod>,
}

impl<W: Workload> Worker<W> {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(workload) = self.workloads.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        let settled = self.expectations.settled(key);
        let uid = workload.meta().uid.clone().unwrap_or_default();
        let mut candidates = pods::candidates(&self.pods, &key.namespace, &uid);
        candidates.retain(|pod| !pods::is_terminal(pod));
        let claimed = claim::plan(workload.meta(), &workload.selector(), candidates);
        let owned = claim::execute(&self.context.client, &*workload, claimed).await?;
        let now = self.context.now();
        let outcome = if settled && workload.meta().deletion_timestamp.is_none() {
            self.scale(key, &workload, &owned).await
        } else {
            Ok(())
        };
        let failure = outcome.as_ref().err().map(|(reason, status)| (*reason, status.message.as_str()));
        let status = plan::status(&*workload, &owned, failure, now);
        if status != workload.status() {
            let mut changed = W::clone(&workload);
            changed.set_status(status);
            match self.context.client.all::<W>().update_status(&changed).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        outcome.map_err(|(_, status)| status)?;
        Ok(plan::next_availability(&owned, workload.min_ready(), now).into())
    }

    /// Creates and deletes pods. A failure carries the reason for the condition.
    async fn scale(
        &self,
        key: &ObjectKey,
        workload: &W,
        owned: &[Arc<Pod>],
    ) -> Result<(), (&'static str, Status)> {
        let related = related(owned);
        let plan = plan::plan(workload.replicas(), owned, &related, self.context.now());
        if plan.create > 0
            && let Some(template) = workload.template()
        {
            let (_, failure) = pod_control::slow_start(plan.create, |_| async {
                let mut pod = pods::from_template(template);
                pod.metadata.generate_name = Some(format!("{}-", key.name));
                let created = pod_control::create(&self.context, workload, pod).await?;
                self.expectations.wrote(key, &*created);
                Ok(())
            })
            .await;
            match failure {
                Some(status) if pod_control::is_namespace_terminating(&status) => {}
                Some(status) => return Err(("FailedCreate", status)),
                None => {}
            }
        }
        let deletions = plan.delete.iter().map(|pod| async {
            self.expectations.deleted(key, &**pod);
            let outcome = pod_control::delete(&self.context, workload, pod).await;
            if outcome.is_err() {
                self.expectations.forget(key);
            }
            outcome
        });
        let failure = futures::future::join_all(deletions).await.into_iter().find_map(Result::err);
        failure.map_or(Ok(()), |status| Err(("FailedDelete", status)))
    }
}

/// How many active pods of the workload each node has.
fn related(pods: &[Arc<Pod>]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for pod in pods.iter().filter(|pod| is_active(pod) && !node_of(pod).is_empty()) {
        *counts.entry(node_of(pod).to_owned()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{World, template};
    use k8s_openapi::api::apps::v1::ReplicaSetSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    fn set(name: &str, replicas: i32) -> ReplicaSet {
        let mut set = ReplicaSet::default();
        set.metadata.name = Some(name.to_owned());
        set.metadata.namespace = Some("default".to_owned());
        set.spec = Some(ReplicaSetSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
                ..Default::default()
            },
            template: Some(template("web")),
            ..ReplicaSetSpec::default()
        });
        set
    }

    #[tokio::test]
    async fn scales_adopts_releases_and_reports() {
        let world = World::new();
        let client = world.client();
        let pods = client.namespaced::<Pod>("default");
        let mut orphan = pods::from_template(&template("web"));
        orphan.metadata.name = Some("orphan".to_owned());
        orphan.metadata.namespace = Some("default".to_owned());
        pods.create(&orphan).await.unwrap();
        let sets = client.namespaced::<ReplicaSet>("default");
        sets.create(&set("web", 3)).await.unwrap();
        world.start(run);
        let status = || {
            world.api.objects::<ReplicaSet>().first().and_then(|set| set.status.clone()).unwrap_or_default()
        };
        world.until("three pods, one adopted", || status().replicas == 3).await;
        let all = world.api.objects::<Pod>();
        assert_eq!(all.len(), 3);
        assert!(
            all.iter().all(|pod| pod.metadata.owner_references.as_ref().is_some_and(|o| o[0].name == "web"))
        );
        assert!(all.iter().any(|pod| pod.metadata.name.as_deref().unwrap().starts_with("web-")));
        // A pod whose labels no longer match is released and replaced.
        let patch = client::Patch::Merge(r#"{"metadata":{"labels":{"app":"other"}}}"#.into());
        pods.patch("orphan", patch).await.unwrap();
        world
            .until("the pod is released and replaced", || {
                let all = world.api.objects::<Pod>();
                let free = all
                    .iter()
                    .filter(|p| p.metadata.owner_references.as_ref().is_none_or(Vec::is_empty))
                    .count();
                all.len() == 4 && free == 1 && status().replicas == 3
            })
            .await;
        for pod in world.api.objects::<Pod>() {
            world.make_ready(&pod).await;
        }
        world.until("all are ready", || status().ready_replicas == Some(3)).await;
        sets.patch("web", client::Patch::Merge(r#"{"spec":{"replicas":1}}"#.into())).await.unwrap();
        world
            .until("it is scaled down", || status().replicas == 1 && status().available_replicas == Some(1))
            .await;
        assert_eq!(world.api.objects::<Pod>().len(), 2);
    }

    #[tokio::test]
    async fn a_failing_creation_becomes_a_condition_and_is_retried() {
        let world = World::new();
        let forbidden = Status::forbidden(&machinery::GroupResource::new("", "pods"), "", "exceeded quota");
        // More often than events alone would make it try.
        world.api.fail("create", "pods", forbidden, 4);
        world.client().namespaced::<ReplicaSet>("default").create(&set("web", 1)).await.unwrap();
        world.start(run);
        let failed = || {
            let sets = world.api.objects::<ReplicaSet>();
            let conditions =
                sets[0].status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            conditions
                .iter()
                .any(|c| c.type_ == "ReplicaFailure" && c.reason.as_deref() == Some("FailedCreate"))
        };
        world.until("the failure is told", failed).await;
        world.passing("the pod is made", || world.api.objects::<Pod>().len() == 1 && !failed()).await;
    }
}
