//! Deletes objects whose owners are gone, and carries out foreground deletion and orphaning (Kubernetes documentation,
//! "Garbage Collection"). It follows the metadata of every resource, custom ones included.

mod graph;
mod worker;

use crate::common::resources::Resource;
use crate::context::Context;
use api::transport::Target;
use client::informer::reflector::{Change, Reflector};
use client::{ListOptions, WorkQueue, run_workers};
use component::Tasks;
use graph::{Graph, Task};
use machinery::GroupVersionResource;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use worker::Worker;

const WORKERS: usize = 20;

/// Resources that own nothing and that nobody waits for.
fn is_ignored(resource: &Resource) -> bool {
    resource.gvr.resource == "events"
}

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    context.resources.synced().await;
    let mut changes = context.resources.changes();
    let (graph, queue) = (Arc::new(Mutex::new(Graph::default())), context.queue::<Task>());
    let mut watchers = Watchers::new(context.clone(), graph.clone(), queue.clone());
    watchers.update();
    watchers.synced().await;
    let worker = Arc::new(Worker::new(context.clone(), graph, queue.clone()));
    run_workers("garbage-collector-controller", WORKERS, &queue, &context.tasks, move |task| {
        let worker = worker.clone();
        async move { worker.run(&task).await }
    });
    while changes.changed().await.is_ok() {
        watchers.update();
    }
}

/// One reflector per resource.
struct Watchers {
    context: Context,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<Task>,
    running: HashMap<GroupVersionResource, Tasks>,
    told: mpsc::UnboundedSender<GroupVersionResource>,
    synced: mpsc::UnboundedReceiver<GroupVersionResource>,
}

impl Watchers {
    fn new(context: Context, graph: Arc<Mutex<Graph>>, queue: WorkQueue<Task>) -> Self {
        let (told, synced) = mpsc::unbounded_channel();
        Self { context, graph, queue, running: HashMap::new(), told, synced }
    }

    /// Follows the resources that are served now.
    fn update(&mut self) {
        let all: Vec<Resource> =
            self.context.resources.all().into_iter().filter(|r| !is_ignored(r)).collect();
        let wanted: HashSet<&GroupVersionResource> = all.iter().map(|resource| &resource.gvr).collect();
        self.running.retain(|gvr, tasks| {
            let keep = wanted.contains(gvr);
            if !keep {
                tasks.stop();
            }
            keep
        });
        for resource in all {
            if !self.running.contains_key(&resource.gvr) {
                self.follow(resource);
            }
        }
    }

    fn follow(&mut self, resource: Resource) {
        let tasks = self.context.tasks.child();
        let transport = self.context.client.transport().clone();
        let target = Target::all(resource.gvr.clone());
        let reflector = Reflector::new(transport, target, ListOptions::default(), self.context.clock.clone());
        let resource = Arc::new(resource);
        let (graph, queue, told) = (self.graph.clone(), self.queue.clone(), self.told.clone());
        self.running.insert(resource.gvr.clone(), tasks.clone());
        tasks.spawn_until_stopped("garbage-collector-watch", async move {
            reflector
                .run(move |change| {
                    let todo = match change {
                        Change::Reset(objects, _) => graph.lock().reset(&resource, &objects),
                        Change::Upsert(object) => graph.lock().upsert(&resource, &object),
                        Change::Delete(object) => {
                            let uid = object.read_meta(|meta| meta.uid.clone()).unwrap_or_default();
                            graph.lock().remove(&uid)
                        }
                        Change::Progress(_) => return,
                        Change::Synced => {
                            // Who waits may be gone at shutdown.
                            let _ = told.send(resource.gvr.clone());
                            return;
                        }
                    };
                    for task in todo {
                        queue.add(task);
                    }
                })
                .await;
        });
    }

    /// Waits until every resource was listed once. Acting earlier would be safe, because owners are looked up before
    /// anything is deleted, but costs a request per owner.
    async fn synced(&mut self) {
        let mut missing: HashSet<GroupVersionResource> = self.running.keys().cloned().collect();
        while !missing.is_empty() {
            match self.synced.recv().await {
                Some(gvr) => missing.remove(&gvr),
                None => return,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use client::{Api, DeleteOptions, Propagation};
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

    async fn family(world: &World) -> (Api<ConfigMap>, Api<Secret>) {
        let (maps, secrets) =
            (world.client().namespaced::<ConfigMap>("a"), world.client().namespaced::<Secret>("a"));
        let mut owner = ConfigMap::default();
        owner.metadata.name = Some("owner".to_owned());
        let owner = maps.create(&owner).await.unwrap();
        secrets.create(&owned("child", "owner", owner.metadata.uid.as_deref().unwrap())).await.unwrap();
        (maps, secrets)
    }

    fn owned(name: &str, owner: &str, uid: &str) -> Secret {
        let reference = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: owner.to_owned(),
            uid: uid.to_owned(),
            block_owner_deletion: Some(true),
            controller: Some(true),
        };
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        };
        Secret { metadata, ..Secret::default() }
    }

    fn with(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
    }

    #[tokio::test]
    async fn in_the_background_dependents_follow() {
        let world = World::new();
        let (maps, secrets) = family(&world).await;
        // An owner that never was counts as gone, too.
        secrets.create(&owned("stray", "nobody", "uid-nobody")).await.unwrap();
        world.start(run);
        world.until("the stray is gone", || world.api.objects::<Secret>().len() == 1).await;
        maps.delete_with("owner", &with(Propagation::Background)).await.unwrap();
        world.until("the child is gone", || world.api.objects::<Secret>().is_empty()).await;
    }

    #[tokio::test]
    async fn in_the_foreground_dependents_go_first() {
        let world = World::new();
        let (maps, secrets) = family(&world).await;
        let hold = client::Patch::Merge(r#"{"metadata":{"finalizers":["example.com/hold"]}}"#.into());
        secrets.patch("child", hold).await.unwrap();
        world.start(run);
        maps.delete_with("owner", &with(Propagation::Foreground)).await.unwrap();
        let leaving =
            || world.api.objects::<Secret>().iter().all(|s| s.metadata.deletion_timestamp.is_some());
        world.until("the child is being deleted", leaving).await;
        assert_eq!(world.api.objects::<ConfigMap>().len(), 1);
        let release = client::Patch::Merge(r#"{"metadata":{"finalizers":null}}"#.into());
        secrets.patch("child", release).await.unwrap();
        world.until("the owner is gone", || world.api.objects::<ConfigMap>().is_empty()).await;
        assert!(world.api.objects::<Secret>().is_empty());
    }

    #[tokio::test]
    async fn orphans_stay() {
        let world = World::new();
        let (maps, _) = family(&world).await;
        world.start(run);
        maps.delete_with("owner", &with(Propagation::Orphan)).await.unwrap();
        world.until("the owner is gone", || world.api.objects::<ConfigMap>().is_empty()).await;
        let child = &world.api.objects::<Secret>()[0];
        assert!(child.metadata.owner_references.as_ref().is_none_or(Vec::is_empty));
    }
}
