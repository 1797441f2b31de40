//! Deletes everything in a namespace that is being deleted, says in its conditions what is left, and takes the
//! `kubernetes` finalizer away at the end.

mod plan;

use crate::common::owners::enqueue;
use crate::common::resources::Resource;
use crate::context::Context;
use client::{DeleteOptions, Informer, ListOptions, ObjectKey, Propagation, Requeue, run_workers};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use machinery::Status;
use plan::{Found, Remaining};
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 10;
/// When to look again while finalizers of others hold objects. Pods wake us by their events.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// When to look again right after the deletions, which most objects do not survive.
const SOON: Duration = Duration::from_millis(100);

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.informer::<Namespace>();
    let pods = context.informers.informer::<Pod>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&namespaces, &queue);
    let (woken, known) = (queue.clone(), namespaces.clone());
    pods.on_event(move |event| {
        let namespace = event.object().metadata.namespace.as_deref().unwrap_or("");
        if event.is_deleted() && known.store().find("", namespace).is_some_and(|ns| is_leaving(&ns)) {
            woken.add(ObjectKey::cluster(namespace));
        }
    });
    namespaces.synced().await;
    pods.synced().await;
    context.resources.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), namespaces });
    run_workers("namespace-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

fn is_leaving(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

fn has_our_finalizer(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == "kubernetes"))
}

struct Worker {
    context: Context,
    namespaces: Informer<Namespace>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(cached) = self.namespaces.store().get(key).filter(|ns| is_leaving(ns)) else {
            return Ok(Requeue::No);
        };
        let api = self.context.client.all::<Namespace>();
        let Some(current) = api.get_opt(&key.name).await?.filter(|ns| ns.metadata.uid == cached.metadata.uid)
        else {
            return Ok(Requeue::No);
        };
        if !is_leaving(&current) || !has_our_finalizer(&current) {
            return Ok(Requeue::No);
        }
        let mut namespace = Namespace::clone(&current);
        if namespace.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Terminating") {
            namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
            namespace = Namespace::clone(&*api.update_status(&namespace).await?);
        }
        let remaining = self.empty(&key.name).await;
        let mut status = namespace.status.clone().unwrap_or_default();
        plan::conditions(&mut status.conditions, &remaining, self.context.now());
        if Some(&status) != namespace.status.as_ref() {
            namespace.status = Some(status);
            namespace = Namespace::clone(&*api.update_status(&namespace).await?);
        }
        if let Some(failure) = remaining.failures.first() {
            return Err(failure.clone());
        }
        if !remaining.is_empty() {
            // Pods wake us when they go, and finalizers are others' to remove; anything else is gone in a moment.
            let slow = remaining.has_pods() || !remaining.finalizers().is_empty();
            return Ok(Requeue::After(if slow { LOOK_AGAIN } else { SOON }));
        }
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != "kubernetes");
        }
        match api.update_subresource(&namespace, "finalize").await {
            Ok(_) => Ok(Requeue::No),
            Err(status) if status.is_not_found() => Ok(Requeue::No),
            Err(status) => Err(status),
        }
    }

    /// Deletes what is in the namespace; says what is still there.
    async fn empty(&self, namespace: &str) -> Remaining {
        let mut remaining = Remaining::default();
        for resource in self.context.resources.all().into_iter().filter(|resource| resource.namespaced) {
            match self.empty_of(namespace, &resource).await {
                Ok(Some(found)) => remaining.found.push(found),
                Ok(None) => {}
                // The resource went away meanwhile, or does not offer this.
                Err(status) if status.code == 404 || status.code == 405 => {}
                Err(status) => remaining.failures.push(status),
            }
        }
        remaining
    }

    async fn empty_of(&self, namespace: &str, resource: &Resource) -> Result<Option<Found>, Status> {
        let api = self.context.client.dynamic(resource.gvr.clone()).in_namespace(namespace);
        let list = ListOptions::default();
        if api.list(&list).await?.items.is_empty() {
            return Ok(None);
        }
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        api.delete_collection(&list, &options).await?;
        let left = api.list(&list).await?.items;
        if left.is_empty() {
            return Ok(None);
        }
        let finalizers = left.iter().flat_map(|object| object.meta().finalizers.clone().unwrap_or_default());
        Ok(Some(Found {
            resource: resource.gvr.group_resource(),
            count: left.len(),
            finalizers: finalizers.collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[tokio::test]
    async fn empties_a_namespace_and_lets_it_go() {
        let world = World::new();
        let client = world.client();
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("gone".to_owned());
        client.all::<Namespace>().create(&namespace).await.unwrap();
        let mut map = ConfigMap::default();
        map.metadata.name = Some("a".to_owned());
        map.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
        let maps = client.namespaced::<ConfigMap>("gone");
        maps.create(&map).await.unwrap();
        world.start(run);
        let mut held = Namespace::clone(&*client.all::<Namespace>().get("gone").await.unwrap());
        held.metadata.finalizers = Some(vec!["example.com/test".to_owned()]);
        client.all::<Namespace>().update(&held).await.unwrap();
        client.all::<Namespace>().delete("gone").await.unwrap();
        let message = |world: &World| {
            let all = world.api.objects::<Namespace>();
            let conditions =
                all[0].status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            conditions
                .iter()
                .find(|c| c.type_ == "NamespaceFinalizersRemaining")
                .and_then(|c| c.message.clone())
        };
        world.until("the finalizer is told", || {
            message(&world).as_deref()
                == Some("Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances")
        })
        .await;
        let patch = client::Patch::Merge(r#"{"metadata":{"finalizers":null}}"#.into());
        maps.patch("a", patch).await.unwrap();
        world
            .passing("the namespace is finalized", || {
                !has_our_finalizer(&world.api.objects::<Namespace>()[0])
            })
            .await;
        assert!(world.api.objects::<ConfigMap>().is_empty());
    }
}
