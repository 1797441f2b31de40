//! Deployments: rolls out new pod templates by making and scaling ReplicaSets.

mod plan;
mod sets;
mod status;
#[cfg(test)]
mod tests;

use crate::common::claim;
use crate::common::expect::Expectations;
use crate::common::owners::{controller_of, enqueue, enqueue_adopters, enqueue_controller, refers_to};
use crate::common::pods;
use crate::context::Context;
use api::common::selector;
use client::{DeleteOptions, EventType, Informer, ObjectKey, Patch, Propagation, Requeue, run_workers};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use machinery::Status;
use machinery::labels::Selector;
use plan::Plan;
use sets::Working;
use std::sync::Arc;

const WORKERS: usize = 5;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let deployments = context.informers.informer::<Deployment>();
    let sets = context.informers.informer::<ReplicaSet>();
    let pods = context.informers.informer::<Pod>();
    pods::index(&pods);
    let queue = context.queue::<ObjectKey>();
    enqueue(&deployments, &queue);
    enqueue_controller::<Deployment, ReplicaSet>(&sets, &queue);
    enqueue_adopters(&sets, &deployments, &queue, |deployment, meta| {
        selector_of(deployment).matches(&meta.labels)
    });
    wake_on_last_pod(&pods, &sets, &queue);
    deployments.synced().await;
    sets.synced().await;
    pods.synced().await;
    let expectations = Expectations::new(&sets);
    let worker = Arc::new(Worker { context: context.clone(), deployments, sets, pods, expectations });
    run_workers("deployment-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

/// Recreate waits until old pods are gone; their deletions do not show in ReplicaSets.
fn wake_on_last_pod(pods: &Informer<Pod>, sets: &Informer<ReplicaSet>, queue: &client::WorkQueue<ObjectKey>) {
    let (sets, queue) = (sets.clone(), queue.clone());
    pods.on_event(move |event| {
        if !event.is_deleted() && !pods::is_terminal(event.object()) {
            return;
        }
        let meta = &event.object().metadata;
        let namespace = meta.namespace.as_deref().unwrap_or("");
        let Some(set) = controller_of(meta).filter(|owner| refers_to::<ReplicaSet>(owner)) else { return };
        let Some(set) = sets.store().find(namespace, &set.name) else { return };
        if let Some(owner) = controller_of(&set.metadata).filter(|owner| refers_to::<Deployment>(owner)) {
            queue.add(ObjectKey::new(namespace, &owner.name));
        }
    });
}

fn selector_of(deployment: &Deployment) -> Selector {
    let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
    selector::convert(selector).unwrap_or_else(|_| Selector::nothing())
}

struct Worker {
    context: Context,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    expectations: Expectations<ReplicaSet>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(deployment) = self.deployments.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        if !self.expectations.settled(key) {
            return Ok(Requeue::No);
        }
        let candidates = self.sets.store().list_in(&key.namespace);
        let claimed = claim::plan(&deployment.metadata, &selector_of(&deployment), candidates);
        let owned = claim::execute(&self.context.client, &*deployment, claimed).await?;
        let plan = plan::plan(&deployment, &owned, self.old_pods_run(&deployment, &owned));
        self.execute(key, &deployment, &plan).await?;
        let now = self.context.now();
        let status = status::status(&deployment, &plan, now);
        let deployment = self.write_revision(&deployment, &plan).await?;
        if Some(&status) != deployment.status.as_ref() {
            let mut changed = Deployment::clone(&deployment);
            changed.status = Some(status.clone());
            self.context.client.all::<Deployment>().update_status(&changed).await?;
        }
        Ok(status::next_check(&deployment, &status, now).into())
    }

    /// Whether pods of sets with another template are still there.
    fn old_pods_run(&self, deployment: &Deployment, owned: &[Arc<ReplicaSet>]) -> bool {
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let is_old = |set: &&Arc<ReplicaSet>| {
            !sets::same_template(template, set.spec.as_ref().and_then(|spec| spec.template.as_ref()))
        };
        owned.iter().filter(is_old).any(|set| {
            let uid = set.metadata.uid.as_deref().unwrap_or("");
            let pods = self.pods.store().by_index(pods::CONTROLLER_INDEX, uid);
            pods.iter().any(|pod| !pods::is_terminal(pod))
        })
    }

    async fn execute(&self, key: &ObjectKey, deployment: &Deployment, plan: &Plan) -> Result<(), Status> {
        let api = self.context.client.namespaced::<ReplicaSet>(&key.namespace);
        for working in plan.sets.all().filter(|working| working.is_changed()) {
            let written = match working.original {
                None => self.create(key, deployment, working).await?,
                Some(_) => api.update(&working.set).await?,
            };
            self.expectations.wrote(key, &*written);
            self.tell_scaling(deployment, working);
        }
        for name in &plan.delete {
            let options =
                DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            match api.delete_with(name, &options).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        working: &Working,
    ) -> Result<Arc<ReplicaSet>, Status> {
        let api = self.context.client.namespaced::<ReplicaSet>(&key.namespace);
        let failure = match api.create(&working.set).await {
            Ok(created) => return Ok(created),
            Err(status) => status,
        };
        if failure.is_already_exists() {
            let existing = api.get(working.name()).await?;
            let template = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone());
            let ours = crate::common::owners::is_controlled_by(&existing.metadata, &deployment.metadata);
            if ours && sets::same_template(template(&existing).as_ref(), template(&working.set).as_ref()) {
                return Ok(existing);
            }
            // Another set has the name by accident: another hash next time.
            let mut changed = deployment.clone();
            let status = changed.status.get_or_insert_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.context.client.all::<Deployment>().update_status(&changed).await?;
            return Err(failure);
        }
        let message = format!("Failed to create new replica set \"{}\": {failure}", working.name());
        self.context.recorder.event(deployment, EventType::Warning, "ReplicaSetCreateError", message);
        Err(failure)
    }

    fn tell_scaling(&self, deployment: &Deployment, working: &Working) {
        let (from, to) = (working.original_size(), working.size());
        if from == to {
            return;
        }
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", working.name());
        self.context.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }

    /// The deployment carries the revision of its new ReplicaSet.
    async fn write_revision(
        &self,
        deployment: &Arc<Deployment>,
        plan: &Plan,
    ) -> Result<Arc<Deployment>, Status> {
        let Some(revision) = plan.sets.new.as_ref().and_then(|new| new.annotation(sets::REVISION)) else {
            return Ok(deployment.clone());
        };
        let meta = &deployment.metadata;
        let known = meta.annotations.as_ref().and_then(|all| all.get(sets::REVISION)).map(String::as_str);
        if known == Some(revision) || meta.deletion_timestamp.is_some() {
            return Ok(deployment.clone());
        }
        let patch =
            serde_json::json!({"metadata": {"uid": meta.uid, "annotations": {sets::REVISION: revision}}});
        let api = self.context.client.namespaced::<Deployment>(meta.namespace.as_deref().unwrap_or(""));
        api.patch(meta.name.as_deref().unwrap_or(""), Patch::Merge(patch.to_string().into())).await
    }
}
