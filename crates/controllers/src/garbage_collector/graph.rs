//! [`Graph`]: who owns whom, from metadata alone. It is fed with what reflectors see and says which objects to look at; it
//! does no I/O.

use crate::common::resources::Resource;
use api::StoredObject;
use client::ObjectKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::GroupVersionResource;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// A UID, cheap to clone.
pub(super) type Uid = Arc<str>;

/// An object, or what is known of an owner that was not seen yet.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// How to reach it; `None` for a virtual node whose kind nobody serves.
    pub(super) resource: Option<Arc<Resource>>,
    pub(super) key: ObjectKey,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: HashSet<Uid>,
    pub(super) deleting: bool,
    /// It waits for its dependents to go (foreground deletion).
    pub(super) waits: bool,
    /// Its dependents are to be orphaned before it goes.
    pub(super) orphans: bool,
    /// Known only from owner references.
    pub(super) is_virtual: bool,
}

/// What to look at after a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Task {
    /// Whether it should still exist.
    Check(Uid),
    /// Its dependents are to be orphaned.
    Orphan(Uid),
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Check(uid) | Self::Orphan(uid) => f.write_str(uid),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    /// UIDs by resource, for lists that replace each other.
    by_resource: HashMap<GroupVersionResource, HashSet<Uid>>,
    /// One copy of each name for all objects in it.
    namespaces: HashSet<Arc<str>>,
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|known| known == finalizer)
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// An object is there, new or changed.
    pub(super) fn upsert(&mut self, resource: &Arc<Resource>, object: &StoredObject) -> Vec<Task> {
        let Some((uid, mut next)) = object.read_meta(|meta| self.node(resource, meta)) else {
            return Vec::new();
        };
        let old = self.nodes.remove(&uid);
        if let Some(old) = &old {
            next.dependents = old.dependents.clone();
        }
        let known = |node: &Option<Node>, that: fn(&Node) -> bool| node.as_ref().is_some_and(that);
        let mut tasks = Vec::new();
        if next.waits && !known(&old, |old| old.waits) {
            tasks.extend(next.dependents.iter().cloned().map(Task::Check));
            tasks.push(Task::Check(uid.clone()));
        }
        if next.orphans && !known(&old, |old| old.orphans) {
            tasks.push(Task::Orphan(uid.clone()));
        }
        let old_owners = old.map(|old| old.owners).unwrap_or_default();
        let owners = next.owners.clone();
        let namespace = next.key.namespace.clone();
        self.by_resource.entry(resource.gvr.clone()).or_default().insert(uid.clone());
        self.nodes.insert(uid.clone(), next);
        for gone in old_owners.iter().filter(|old| !owners.iter().any(|owner| owner.uid == old.uid)) {
            self.unlink(&gone.uid, &uid, &mut tasks);
        }
        for (owner, before) in
            owners.iter().map(|owner| (owner, old_owners.iter().find(|old| old.uid == owner.uid)))
        {
            match before {
                None => self.link(owner, &namespace, &uid, &mut tasks),
                Some(before) if before.block_owner_deletion != owner.block_owner_deletion => {
                    self.wake_waiting(&owner.uid, &mut tasks);
                }
                Some(_) => {}
            }
        }
        tasks
    }

    fn node(&mut self, resource: &Arc<Resource>, meta: &ObjectMeta) -> Option<(Uid, Node)> {
        let uid = meta.uid.as_deref().map(Uid::from)?;
        let deleting = meta.deletion_timestamp.is_some();
        let namespace = self.namespace(meta.namespace.as_deref().unwrap_or_default());
        let node = Node {
            resource: Some(resource.clone()),
            key: ObjectKey { namespace, name: meta.name.as_deref().unwrap_or_default().into() },
            owners: meta.owner_references.clone().unwrap_or_default(),
            dependents: HashSet::new(),
            deleting,
            waits: deleting && has(meta, FOREGROUND),
            orphans: deleting && has(meta, ORPHAN),
            is_virtual: false,
        };
        Some((uid, node))
    }

    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return known.clone();
        }
        let fresh: Arc<str> = name.into();
        self.namespaces.insert(fresh.clone());
        fresh
    }

    fn link(&mut self, owner: &OwnerReference, namespace: &Arc<str>, dependent: &Uid, tasks: &mut Vec<Task>) {
        let uid: Uid = owner.uid.as_str().into();
        let node = self.nodes.entry(uid.clone()).or_insert_with(|| {
            // Not seen: it may come, or be gone. Looking at it tells.
            tasks.push(Task::Check(uid));
            Node {
                resource: None,
                key: ObjectKey::new(namespace, &owner.name),
                owners: Vec::new(),
                dependents: HashSet::new(),
                deleting: false,
                waits: false,
                orphans: false,
                is_virtual: true,
            }
        });
        node.dependents.insert(dependent.clone());
        // A reference that does not fit its owner, or an owner that is waiting to go: look at the dependent.
        let misplaced = !node.key.namespace.is_empty() && node.key.namespace != *namespace;
        if node.waits || misplaced {
            tasks.push(Task::Check(dependent.clone()));
        }
    }

    fn unlink(&mut self, owner: &str, dependent: &Uid, tasks: &mut Vec<Task>) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        node.dependents.remove(dependent);
        if node.is_virtual && node.dependents.is_empty() {
            self.nodes.remove(owner);
        } else {
            self.wake_waiting(owner, tasks);
        }
    }

    fn wake_waiting(&self, owner: &str, tasks: &mut Vec<Task>) {
        if let Some((uid, _)) = self.nodes.get_key_value(owner).filter(|(_, node)| node.waits) {
            tasks.push(Task::Check(uid.clone()));
        }
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Task> {
        let mut tasks = Vec::new();
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return tasks };
        if let Some(resource) = &node.resource
            && let Some(all) = self.by_resource.get_mut(&resource.gvr)
        {
            all.remove(&uid);
        }
        // The set's own and the node's: nobody else is in that namespace.
        if Arc::strong_count(&node.key.namespace) <= 2 {
            self.namespaces.remove(&node.key.namespace);
        }
        for owner in &node.owners {
            self.unlink(&owner.uid, &uid, &mut tasks);
        }
        tasks.extend(node.dependents.into_iter().map(Task::Check));
        tasks
    }

    /// These are all objects of a resource.
    pub(super) fn reset(&mut self, resource: &Arc<Resource>, objects: &[Arc<StoredObject>]) -> Vec<Task> {
        let uids = objects.iter().filter_map(|object| object.read_meta(|meta| meta.uid.clone()));
        let present: HashSet<String> = uids.collect();
        let known = self.by_resource.get(&resource.gvr);
        let gone: Vec<Uid> =
            known.into_iter().flatten().filter(|uid| !present.contains(&***uid)).cloned().collect();
        let mut tasks: Vec<Task> = gone.iter().flat_map(|uid| self.remove(uid)).collect();
        for object in objects {
            tasks.extend(self.upsert(resource, object));
        }
        tasks
    }

    /// Dependents of `uid` that keep it from going.
    pub(super) fn blockers(&self, uid: &str) -> Vec<Uid> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependent: &&Uid| {
            self.nodes.get(*dependent).is_some_and(|dependent| {
                dependent
                    .owners
                    .iter()
                    .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
            })
        };
        node.dependents.iter().filter(blocks).cloned().collect()
    }

    /// Whether a dependent of `uid` itself waits for dependents: a circle, perhaps.
    pub(super) fn has_waiting_dependent(&self, uid: &str) -> bool {
        let dependents = self.nodes.get(uid).map(|node| &node.dependents);
        dependents
            .into_iter()
            .flatten()
            .any(|dependent| self.nodes.get(dependent).is_some_and(|node| node.waits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::GroupVersionKind;

    fn resource() -> Arc<Resource> {
        Arc::new(Resource {
            gvr: GroupVersionResource::new("", "v1", "configmaps"),
            gvk: GroupVersionKind::new("", "v1", "ConfigMap"),
            namespaced: true,
        })
    }

    fn object(uid: &str, owner: Option<&str>, more: &str) -> Arc<StoredObject> {
        let owners = owner.map_or(String::new(), |owner| {
            format!(
                r#","ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"{owner}","uid":"{owner}","blockOwnerDeletion":true}}]"#
            )
        });
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{uid}","namespace":"a","uid":"{uid}"{owners}{more}}}}}"#
        );
        Arc::new(StoredObject::new(1, json.into()).unwrap())
    }

    fn check(uid: &str) -> Task {
        Task::Check(uid.into())
    }

    #[test]
    fn dependents_are_looked_at_when_their_owner_goes() {
        let (mut graph, resource) = (Graph::default(), resource());
        assert_eq!(graph.upsert(&resource, &object("child", Some("owner"), "")), [check("owner")]);
        assert!(graph.get("owner").unwrap().is_virtual);
        assert_eq!(graph.upsert(&resource, &object("owner", None, "")), []);
        assert!(!graph.get("owner").unwrap().is_virtual);
        assert_eq!(graph.remove("owner"), [check("child")]);
        assert_eq!(graph.reset(&resource, &[]), []);
        assert!(graph.get("child").is_none());
    }

    #[test]
    fn a_waiting_owner_is_looked_at_when_its_last_dependent_goes() {
        let (mut graph, resource) = (Graph::default(), resource());
        graph.upsert(&resource, &object("owner", None, ""));
        graph.upsert(&resource, &object("child", Some("owner"), ""));
        let waiting = r#","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["foregroundDeletion"]"#;
        let tasks = graph.upsert(&resource, &object("owner", None, waiting));
        assert_eq!(tasks, [check("child"), check("owner")]);
        assert_eq!(graph.blockers("owner"), ["child".into()]);
        assert_eq!(graph.remove("child"), [check("owner")]);
        assert!(graph.blockers("owner").is_empty());
        assert_eq!(graph.namespaces.len(), 1);
        graph.remove("owner");
        assert!(graph.namespaces.is_empty(), "names of namespaces go with their last object");
    }
}
