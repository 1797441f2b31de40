//! StatefulSets: pods with lasting names and claims.

mod claims;
mod identity;
mod plan;

use crate::common::expect::Expectations;
use crate::common::owners::{enqueue, enqueue_adopters, enqueue_controller};
use crate::common::{claim, pod_control, pods, revisions};
use crate::context::Context;
use api::common::selector;
use api::{Kind, Object};
use client::{DeleteOptions, EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use machinery::Status;
use machinery::labels::Selector;
use plan::{Step, View};
use revisions::History;
use std::sync::Arc;

const WORKERS: usize = 5;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let sets = context.informers.informer::<StatefulSet>();
    let pods = context.informers.informer::<Pod>();
    let claims = context.informers.informer::<PersistentVolumeClaim>();
    let revisions = context.informers.informer::<ControllerRevision>();
    pods::index(&pods);
    let queue = context.queue::<ObjectKey>();
    enqueue(&sets, &queue);
    enqueue_controller::<StatefulSet, Pod>(&pods, &queue);
    enqueue_controller::<StatefulSet, ControllerRevision>(&revisions, &queue);
    enqueue_adopters(&pods, &sets, &queue, |set, meta| selector_of(set).matches(&meta.labels));
    sets.synced().await;
    pods.synced().await;
    claims.synced().await;
    revisions.synced().await;
    let expectations = Expectations::new(&pods);
    let worker = Arc::new(Worker { context: context.clone(), sets, pods, claims, revisions, expectations });
    run_workers("statefulset-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

fn selector_of(set: &StatefulSet) -> Selector {
    let selector = set.spec.as_ref().map(|spec| &spec.selector);
    selector::convert(selector).unwrap_or_else(|_| Selector::nothing())
}

/// The template that a revision recorded.
fn template_of(set: &StatefulSet, revision: &ControllerRevision) -> PodTemplateSpec {
    let mut object: serde_json::Value = serde_json::from_slice(&Object::to_json(set)).unwrap_or_default();
    if let Some(data) = &revision.data {
        let mut template = data.0["spec"]["template"].clone();
        if let Some(fields) = template.as_object_mut() {
            fields.remove("$patch");
        }
        object["spec"]["template"] = template;
    }
    let restored = StatefulSet::from_json(object.to_string().as_bytes()).unwrap_or_else(|_| set.clone());
    restored.spec.map(|spec| spec.template).unwrap_or_default()
}

struct Worker {
    context: Context,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    expectations: Expectations<Pod>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(set) = self.sets.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        if !self.expectations.settled(key) {
            return Ok(Requeue::No);
        }
        let (client, selector) = (&self.context.client, selector_of(&set));
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = revisions::sync(client, &self.revisions, &*set, &selector, collisions).await?;
        let current = current_of(&set, &history);
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let mut candidates = pods::candidates(&self.pods, &key.namespace, &uid);
        // A pod with another kind of name can never be one of ours.
        candidates.retain(|pod| identity::ordinal_of(&set, pod).is_some());
        let claimed = claim::plan(&set.metadata, &selector, candidates);
        let owned = claim::execute(client, &*set, claimed).await?;
        let now = self.context.now();
        let (current_name, update_name) = (revisions::name(&current), revisions::name(&history.current));
        let view = View { set: &set, pods: &owned, current: current_name, update: update_name, now };
        let plan = plan::plan(&view);
        let outcome = self.execute(key, &set, &plan.steps, &current, &history.current).await;
        let mut status = plan.status;
        status.collision_count = history.collisions;
        if Some(&status) != set.status.as_ref() {
            let mut changed = StatefulSet::clone(&set);
            changed.status = Some(status);
            client.all::<StatefulSet>().update_status(&changed).await?;
        }
        claims::apply_retention(&self.context, &self.claims, &set, &owned).await?;
        outcome?;
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let used = |revision: &ControllerRevision| {
            let name = revisions::name(revision);
            name == current_name || owned.iter().any(|pod| identity::revision_of(pod) == name)
        };
        revisions::truncate(client, &history, limit, used).await?;
        let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        Ok(owned
            .iter()
            .filter_map(|pod| pods::availability(pod, min_ready, now).err().flatten())
            .min()
            .into())
    }

    async fn execute(
        &self,
        key: &ObjectKey,
        set: &StatefulSet,
        steps: &[Step],
        current: &ControllerRevision,
        update: &ControllerRevision,
    ) -> Result<(), Status> {
        for step in steps {
            match step {
                Step::Create(ordinal, updated) => {
                    let revision = if *updated { update } else { current };
                    self.create(key, set, *ordinal, revision).await?;
                }
                Step::Delete(pod) => self.delete(key, set, pod).await?,
                Step::Claims(ordinal) => claims::create(&self.context, &self.claims, set, *ordinal).await?,
                Step::Restore(ordinal, pod) => {
                    let mut restored = Pod::clone(pod);
                    identity::restore(set, *ordinal, &mut restored);
                    let written = self.context.client.all::<Pod>().update(&restored).await?;
                    self.expectations.wrote(key, &*written);
                }
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        key: &ObjectKey,
        set: &StatefulSet,
        ordinal: i32,
        revision: &ControllerRevision,
    ) -> Result<(), Status> {
        let name = identity::pod_name(set, ordinal);
        let tell = |kind, reason, text: String| self.context.recorder.event(set, kind, reason, text);
        let mut pod = identity::pod(set, &template_of(set, revision), revisions::name(revision), ordinal);
        pod.metadata.owner_references = Some(vec![crate::common::owners::controller_reference(set)]);
        let created = match claims::create(&self.context, &self.claims, set, ordinal).await {
            Ok(()) => self.context.client.namespaced::<Pod>(&key.namespace).create(&pod).await,
            Err(status) => Err(status),
        };
        match created {
            Ok(created) => {
                self.expectations.wrote(key, &*created);
                let text = format!("create Pod {name} in StatefulSet {} successful", key.name);
                tell(EventType::Normal, "SuccessfulCreate", text);
                Ok(())
            }
            // The cache was behind, or a pod of another owner has the name; its events tell.
            Err(status) if status.is_already_exists() => Ok(()),
            Err(status) if pod_control::is_namespace_terminating(&status) => Ok(()),
            Err(status) => {
                let text = format!("create Pod {name} in StatefulSet {} failed error: {status}", key.name);
                tell(EventType::Warning, "FailedCreate", text);
                Err(status)
            }
        }
    }

    async fn delete(&self, key: &ObjectKey, set: &StatefulSet, pod: &Pod) -> Result<(), Status> {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        let options = DeleteOptions { uid: pod.metadata.uid.clone(), ..DeleteOptions::default() };
        match self.context.client.namespaced::<Pod>(&key.namespace).delete_with(name, &options).await {
            Err(status) if status.is_not_found() => Ok(()),
            Err(status) => {
                let text = format!("delete Pod {name} in StatefulSet {} failed error: {status}", key.name);
                self.context.recorder.event(set, EventType::Warning, "FailedDelete", text);
                Err(status)
            }
            Ok(_) => {
                self.expectations.deleted(key, pod);
                let text = format!("delete Pod {name} in StatefulSet {} successful", key.name);
                self.context.recorder.event(set, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
        }
    }
}

/// The revision that pods below the partition have: the one the status names, if it is still there.
fn current_of(set: &StatefulSet, history: &History) -> Arc<ControllerRevision> {
    let named = set.status.as_ref().and_then(|status| status.current_revision.as_deref()).unwrap_or("");
    let found = history.old.iter().find(|revision| revisions::name(revision) == named);
    found.unwrap_or(&history.current).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use client::Patch;

    #[tokio::test]
    async fn pods_keep_their_names_and_claims() {
        let world = World::new();
        let client = world.client();
        world.start(run);
        let json = r#"{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"db"},"spec":{
            "replicas":2,"serviceName":"db","selector":{"matchLabels":{"app":"db"}},
            "template":{"metadata":{"labels":{"app":"db"}},"spec":{"containers":[{"name":"main","image":"image:1"}]}},
            "volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],
                "resources":{"requests":{"storage":"1Gi"}}}}]}}"#;
        let sets = client.namespaced::<StatefulSet>("default");
        sets.create(&StatefulSet::from_json(json.as_bytes()).unwrap()).await.unwrap();
        let pod = |name: &str, image: &str| {
            let all = world.api.objects::<Pod>();
            let is = |pod: &&Arc<Pod>| pod.metadata.name.as_deref() == Some(name);
            let right =
                |pod: &&Arc<Pod>| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image);
            all.iter().filter(is).find(right).cloned()
        };
        for name in ["db-0", "db-1"] {
            world.until("the next pod", || pod(name, "image:1").is_some()).await;
            world.make_ready(&pod(name, "image:1").unwrap()).await;
        }
        let claims: Vec<_> = world
            .api
            .objects::<PersistentVolumeClaim>()
            .iter()
            .filter_map(|c| c.metadata.name.clone())
            .collect();
        assert_eq!(claims, ["data-db-0", "data-db-1"]);
        let first = pod("db-0", "image:1").unwrap();
        let spec = first.spec.as_ref().unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-0"), Some("db")));
        let patch = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"image:2"}]"#;
        sets.patch("db", Patch::Json(patch.into())).await.unwrap();
        for name in ["db-1", "db-0"] {
            world.until("the next new pod", || pod(name, "image:2").is_some()).await;
            world.make_ready(&pod(name, "image:2").unwrap()).await;
        }
        let done = || {
            let status = world.api.objects::<StatefulSet>()[0].status.clone().unwrap_or_default();
            status.current_revision == status.update_revision && status.updated_replicas == Some(2)
        };
        world.until("the update is complete", done).await;
        assert_eq!(world.api.objects::<PersistentVolumeClaim>().len(), 2);
    }
}
