//! Looks at one object at a time and does what its owners' state asks for.

use super::graph::{FOREGROUND, Graph, Node, ORPHAN, Task};
use crate::common::owners::to_json;
use crate::common::resources::Resource;
use crate::context::Context;
use api::StoredObject;
use client::{DeleteOptions, Dynamic, ObjectKey, Patch, Propagation, Requeue, WorkQueue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::{GroupVersion, Status};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct Worker {
    context: Context,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<Task>,
}

/// The owners of an object by their state.
#[derive(Default)]
struct Owners {
    /// They are there.
    solid: usize,
    /// They are gone.
    dangling: Vec<String>,
    /// They wait for this object to go.
    waiting: Vec<String>,
}

impl Worker {
    pub(super) fn new(context: Context, graph: Arc<Mutex<Graph>>, queue: WorkQueue<Task>) -> Self {
        Self { context, graph, queue }
    }

    pub(super) async fn run(&self, task: &Task) -> Result<Requeue, Status> {
        let outcome = match task {
            Task::Check(uid) => self.check(uid).await,
            Task::Orphan(uid) => self.orphan(uid).await,
        };
        match outcome {
            // The object went, or changed; then an event brings it again.
            Err(status) if status.is_not_found() => Ok(Requeue::No),
            other => other.map(|()| Requeue::No),
        }
    }

    fn api(&self, resource: &Resource, namespace: &str) -> Dynamic {
        self.context.client.dynamic(resource.gvr.clone()).in_namespace(if resource.namespaced {
            namespace
        } else {
            ""
        })
    }

    fn enqueue(&self, tasks: Vec<Task>) {
        for task in tasks {
            self.queue.add(task);
        }
    }

    async fn check(&self, uid: &str) -> Result<(), Status> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        if node.is_virtual {
            return self.check_virtual(uid, &node).await;
        }
        if node.deleting && !node.waits {
            return Ok(());
        }
        let Some(resource) = &node.resource else { return Ok(()) };
        let live = self.api(resource, &node.key.namespace).get_opt(&node.key.name).await?;
        let Some(live) = live.filter(|live| live.meta().uid.as_deref() == Some(uid)) else {
            let todo = self.graph.lock().remove(uid);
            self.enqueue(todo);
            return Ok(());
        };
        if node.waits {
            return self.finish_foreground(uid, resource, &live).await;
        }
        let owners = self.sort_out(live.meta()).await?;
        self.act(uid, resource, &live, &owners).await
    }

    /// An owner that was named but not seen: when it does not exist, its dependents are looked at.
    async fn check_virtual(&self, uid: &str, node: &Node) -> Result<(), Status> {
        let dependent = node.dependents.iter().next().cloned();
        let reference = dependent.and_then(|dependent| {
            let graph = self.graph.lock();
            graph.get(&dependent)?.owners.iter().find(|owner| owner.uid == uid).cloned()
        });
        let Some(reference) = reference else { return Ok(()) };
        if self.exists(&reference, &node.key.namespace).await? {
            // It exists; its own event is on the way and makes the node real.
            return Ok(());
        }
        let todo = self.graph.lock().remove(uid);
        self.enqueue(todo);
        Ok(())
    }

    /// Whether the object that a reference names, as seen from `namespace`, exists with the same UID.
    async fn exists(&self, owner: &OwnerReference, namespace: &str) -> Result<bool, Status> {
        let group = GroupVersion::parse(&owner.api_version).map(|version| version.group).unwrap_or_default();
        let Some(resource) = self.context.resources.of_kind(&group, &owner.kind) else {
            return Err(Status::unavailable(format!(
                "failed to look up the owner {} {}: no such kind is served now",
                owner.kind, owner.name
            )));
        };
        if resource.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot have an owner in a namespace.
            return Ok(false);
        }
        let live = self.api(&resource, namespace).get_opt(&owner.name).await?;
        Ok(live.is_some_and(|live| live.meta().uid.as_deref() == Some(&owner.uid)))
    }

    async fn sort_out(&self, meta: &ObjectMeta) -> Result<Owners, Status> {
        let namespace = meta.namespace.as_deref().unwrap_or("");
        let mut owners = Owners::default();
        for reference in meta.owner_references.iter().flatten() {
            let known = {
                let graph = self.graph.lock();
                let node =
                    graph.get(&reference.uid).filter(|node| !node.is_virtual && fits(&node.key, namespace));
                node.map(|node| node.waits)
            };
            match known {
                Some(true) if reference.block_owner_deletion == Some(true) => {
                    owners.waiting.push(reference.uid.clone())
                }
                Some(_) => owners.solid += 1,
                None if self.exists(reference, namespace).await? => owners.solid += 1,
                None => owners.dangling.push(reference.uid.clone()),
            }
        }
        Ok(owners)
    }

    async fn act(
        &self,
        uid: &str,
        resource: &Resource,
        live: &StoredObject,
        owners: &Owners,
    ) -> Result<(), Status> {
        let meta = live.meta();
        let has_dependents = self.graph.lock().get(uid).is_some_and(|node| !node.dependents.is_empty());
        if owners.solid > 0 {
            let gone: Vec<&String> = owners.dangling.iter().chain(&owners.waiting).collect();
            if gone.is_empty() {
                return Ok(());
            }
            let kept = references(meta, |owner| (!gone.contains(&&owner.uid)).then(|| owner.clone()));
            return self.write(resource, meta, json!({ "ownerReferences": kept })).await;
        }
        if owners.waiting.is_empty() && owners.dangling.is_empty() {
            return Ok(());
        }
        if !owners.waiting.is_empty() && has_dependents {
            if self.graph.lock().has_waiting_dependent(uid) {
                // Perhaps a circle of owners; it is broken by not blocking any more.
                let unblocked = references(meta, |owner| {
                    Some(OwnerReference { block_owner_deletion: Some(false), ..owner.clone() })
                });
                self.write(resource, meta, json!({ "ownerReferences": unblocked })).await?;
                return self.delete(resource, meta, Propagation::Foreground, false).await;
            }
            return self.delete(resource, meta, Propagation::Foreground, true).await;
        }
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|known| known == finalizer);
        let policy = if has(ORPHAN) {
            Propagation::Orphan
        } else if has(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        self.delete(resource, meta, policy, true).await
    }

    /// Lets an object go whose dependents are gone; else looks at those.
    async fn finish_foreground(
        &self,
        uid: &str,
        resource: &Resource,
        live: &StoredObject,
    ) -> Result<(), Status> {
        let blockers = self.graph.lock().blockers(uid);
        if blockers.is_empty() {
            return self.drop_finalizer(resource, live.meta(), FOREGROUND).await;
        }
        let todo = {
            let graph = self.graph.lock();
            let untouched =
                blockers.into_iter().filter(|uid| graph.get(uid).is_some_and(|node| !node.deleting));
            untouched.map(Task::Check).collect()
        };
        self.enqueue(todo);
        Ok(())
    }

    async fn orphan(&self, uid: &str) -> Result<(), Status> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        let dependents: Vec<Node> = {
            let graph = self.graph.lock();
            node.dependents.iter().filter_map(|dependent| graph.get(dependent).cloned()).collect()
        };
        for dependent in dependents {
            let Some(resource) = &dependent.resource else { continue };
            let api = self.api(resource, &dependent.key.namespace);
            let Some(live) = api.get_opt(&dependent.key.name).await? else { continue };
            let kept = references(live.meta(), |owner| (owner.uid != uid).then(|| owner.clone()));
            match self.write(resource, live.meta(), json!({ "ownerReferences": kept })).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        let Some(resource) = &node.resource else { return Ok(()) };
        let Some(live) = self.api(resource, &node.key.namespace).get_opt(&node.key.name).await? else {
            return Ok(());
        };
        if live.meta().uid.as_deref() != Some(uid) {
            return Ok(());
        }
        self.drop_finalizer(resource, live.meta(), ORPHAN).await
    }

    async fn drop_finalizer(
        &self,
        resource: &Resource,
        meta: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), Status> {
        let kept: Vec<_> = meta.finalizers.iter().flatten().filter(|known| *known != finalizer).collect();
        self.write(resource, meta, json!({ "finalizers": kept })).await
    }

    /// Changes metadata, only if the object is still as it was seen.
    async fn write(&self, resource: &Resource, meta: &ObjectMeta, mut change: Value) -> Result<(), Status> {
        change["uid"] = json!(meta.uid);
        change["resourceVersion"] = json!(meta.resource_version);
        let patch = Patch::Merge(json!({ "metadata": change }).to_string().into());
        let api = self.api(resource, meta.namespace.as_deref().unwrap_or(""));
        api.patch(meta.name.as_deref().unwrap_or(""), patch).await.map(drop)
    }

    async fn delete(
        &self,
        resource: &Resource,
        meta: &ObjectMeta,
        propagation: Propagation,
        unchanged: bool,
    ) -> Result<(), Status> {
        let options = DeleteOptions {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone().filter(|_| unchanged),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        let api = self.api(resource, meta.namespace.as_deref().unwrap_or(""));
        api.delete(meta.name.as_deref().unwrap_or(""), &options).await.map(drop)
    }
}

/// Whether an object at `key` may own objects of `namespace`.
fn fits(key: &ObjectKey, namespace: &str) -> bool {
    key.namespace.is_empty() || &*key.namespace == namespace
}

/// The owner references after a change, as JSON.
fn references(meta: &ObjectMeta, change: impl Fn(&OwnerReference) -> Option<OwnerReference>) -> Vec<Value> {
    meta.owner_references.iter().flatten().filter_map(change).map(|owner| to_json(&owner)).collect()
}
