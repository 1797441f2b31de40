//! DaemonSets: one pod on every node that the template fits.

mod plan;

use crate::common::expect::Expectations;
use crate::common::owners::{enqueue, enqueue_adopters, enqueue_controller};
use crate::common::{claim, pod_control, pods, revisions};
use crate::context::Context;
use api::common::selector;
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use machinery::Status;
use machinery::labels::Selector;
use plan::{Plan, View};
use std::sync::Arc;

const WORKERS: usize = 2;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let sets = context.informers.informer::<DaemonSet>();
    let pods = context.informers.informer::<Pod>();
    let nodes = context.informers.informer::<Node>();
    let revisions = context.informers.informer::<ControllerRevision>();
    pods::index(&pods);
    let queue = context.queue::<ObjectKey>();
    enqueue(&sets, &queue);
    enqueue_controller::<DaemonSet, Pod>(&pods, &queue);
    enqueue_controller::<DaemonSet, ControllerRevision>(&revisions, &queue);
    enqueue_adopters(&pods, &sets, &queue, |set, meta| selector_of(set).matches(&meta.labels));
    let (changed, all) = (queue.clone(), sets.clone());
    nodes.on_event(move |event| {
        let view = |node: &Node| {
            let spec = node.spec.clone().unwrap_or_default();
            (node.metadata.labels.clone(), spec.taints, spec.unschedulable)
        };
        // Heartbeats change nothing here.
        if event.old().is_some_and(|old| view(old) == view(event.object())) {
            return;
        }
        for set in all.store().list() {
            changed.add(ObjectKey::of(&set.metadata));
        }
    });
    sets.synced().await;
    pods.synced().await;
    nodes.synced().await;
    revisions.synced().await;
    let expectations = Expectations::new(&pods);
    let worker = Arc::new(Worker { context: context.clone(), sets, pods, nodes, revisions, expectations });
    run_workers("daemonset-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

fn selector_of(set: &DaemonSet) -> Selector {
    let selector = set.spec.as_ref().map(|spec| &spec.selector);
    selector::convert(selector).unwrap_or_else(|_| Selector::nothing())
}

struct Worker {
    context: Context,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    expectations: Expectations<Pod>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(set) = self.sets.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        if set.metadata.deletion_timestamp.is_some() || !self.expectations.settled(key) {
            return Ok(Requeue::No);
        }
        let (client, selector) = (&self.context.client, selector_of(&set));
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = revisions::sync(client, &self.revisions, &*set, &selector, collisions).await?;
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let candidates = pods::candidates(&self.pods, &key.namespace, &uid);
        let claimed = claim::plan(&set.metadata, &selector, candidates);
        let owned = claim::execute(client, &*set, claimed).await?;
        let hash = revisions::hash_of(&history.current).to_owned();
        let now = self.context.now();
        let nodes = self.nodes.store().list();
        let plan = plan::plan(&View { set: &set, nodes: &nodes, pods: &owned, hash: &hash, now });
        let outcome = self.execute(key, &set, &plan, &hash).await;
        let mut status = plan.status;
        status.collision_count = history.collisions;
        if Some(&status) != set.status.as_ref() {
            let mut changed = DaemonSet::clone(&set);
            changed.status = Some(status);
            client.all::<DaemonSet>().update_status(&changed).await?;
        }
        outcome?;
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let used = |revision: &ControllerRevision| {
            let hash = revisions::hash_of(revision);
            owned.iter().any(|pod| {
                pod.metadata
                    .labels
                    .as_ref()
                    .and_then(|l| l.get(revisions::HASH_LABEL))
                    .is_some_and(|h| h == hash)
            })
        };
        revisions::truncate(client, &history, limit, used).await?;
        let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let next =
            owned.iter().filter_map(|pod| pods::availability(pod, min_ready, now).err().flatten()).min();
        Ok(next.into())
    }

    async fn execute(&self, key: &ObjectKey, set: &DaemonSet, plan: &Plan, hash: &str) -> Result<(), Status> {
        for pod in &plan.ended {
            let (name, node) = (ObjectKey::of(&pod.metadata), pods::node_of(pod));
            let (kind, reason, word) = match pods::phase(pod) {
                "Failed" => (EventType::Warning, "FailedDaemonPod", "failed"),
                _ => (EventType::Normal, "SucceededDaemonPod", "succeeded"),
            };
            let message = format!("Found {word} daemon pod {name} on node {node}, will try to kill it");
            self.context.recorder.event(set, kind, reason, message);
        }
        let (_, failure) = pod_control::slow_start(plan.create.len(), |at| async move {
            let node = &plan.create[at];
            let mut pod = pods::from_template(&set.spec.clone().unwrap_or_default().template);
            pod.metadata.generate_name = Some(format!("{}-", key.name));
            pod.spec = Some(plan::pod_spec(set, node));
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.insert(revisions::HASH_LABEL.to_owned(), hash.to_owned());
            if let Some(generation) = set
                .metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get("deprecated.daemonset.template.generation"))
            {
                labels.insert("pod-template-generation".to_owned(), generation.clone());
            }
            let created = pod_control::create(&self.context, set, pod).await?;
            self.expectations.wrote(key, &*created);
            Ok(())
        })
        .await;
        for pod in plan.delete.iter().chain(&plan.ended) {
            pod_control::delete(&self.context, set, pod).await?;
            self.expectations.deleted(key, &**pod);
        }
        match failure {
            Some(status) if !pod_control::is_namespace_terminating(&status) => Err(status),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{World, template};
    use client::Patch;
    use k8s_openapi::api::apps::v1::DaemonSetSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    #[tokio::test]
    async fn every_node_gets_a_pod_and_then_the_new_one() {
        let world = World::new();
        let client = world.client();
        world.start(run);
        let mut set = DaemonSet::default();
        set.metadata.name = Some("d".to_owned());
        set.spec = Some(DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some([("app".to_owned(), "d".to_owned())].into()),
                ..Default::default()
            },
            template: template("d"),
            ..DaemonSetSpec::default()
        });
        let sets = client.namespaced::<DaemonSet>("default");
        sets.create(&set).await.unwrap();
        for name in ["a", "b"] {
            let mut node = Node::default();
            node.metadata.name = Some(name.to_owned());
            client.all::<Node>().create(&node).await.unwrap();
        }
        world.until("two pods", || world.api.objects::<Pod>().len() == 2).await;
        for pod in world.api.objects::<Pod>() {
            world.make_ready(&pod).await;
        }
        let status = || world.api.objects::<DaemonSet>()[0].status.clone().unwrap_or_default();
        world.until("both are ready", || status().number_available == Some(2)).await;
        let patch = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"image:2"}]"#;
        sets.patch("d", Patch::Json(patch.into())).await.unwrap();
        for round in 1..=2 {
            let fresh = || {
                let pods = world.api.objects::<Pod>();
                let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone();
                let new: Vec<_> =
                    pods.iter().filter(|pod| image(pod).as_deref() == Some("image:2")).cloned().collect();
                (pods.len() == 2 && new.len() == round).then_some(new)
            };
            world.until("another pod is new", || fresh().is_some()).await;
            for pod in fresh().unwrap() {
                world.make_ready(&pod).await;
            }
        }
        world.until("all are updated", || status().updated_number_scheduled == Some(2)).await;
        assert_eq!(world.api.objects::<ControllerRevision>().len(), 2);
    }
}
