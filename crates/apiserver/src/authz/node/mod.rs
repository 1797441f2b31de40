//! The node authorizer: a kubelet reads what its own pods need, and writes what is its own.
//!
//! Source: "Using Node Authorization"; KEP-4601 (selectors). Deliberately absent: what a node may write *into* its
//! objects, which is the admission plugin NodeRestriction's.

mod graph;

use super::bootstrap::node_rules;
use super::feed::{Sink, feed};
use super::rbac;
use crate::contract::{Attributes, Authorizer, Context, Decision, Lookup, UserInfo};
use api::StoredObject;
use api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use api::k8s_openapi::api::rbac::v1::PolicyRule;
use api::k8s_openapi::api::storage::v1::VolumeAttachment;
use async_trait::async_trait;
use graph::{Graph, Kind};
use machinery::{GroupResource, GroupVersionResource};
use parking_lot::RwLock;
use std::sync::Arc;

/// The node that a user is; `None` for everyone else.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    (!name.is_empty() && user.in_group("system:nodes")).then_some(name)
}

struct Node {
    graph: Arc<RwLock<Graph>>,
    lookup: Arc<dyn Lookup>,
    rules: Vec<PolicyRule>,
}

/// Starts the authorizer; returns when it knows every pod.
pub async fn start(context: &Context) -> Arc<dyn Authorizer> {
    let graph = Arc::new(RwLock::new(Graph::default()));
    feed(context, GroupVersionResource::new("", "v1", "pods"), Arc::new(Pods(graph.clone()))).await;
    Arc::new(Node { graph, lookup: context.lookup.clone(), rules: node_rules() })
}

struct Pods(Arc<RwLock<Graph>>);

impl Sink for Pods {
    fn replace(&self, objects: &[Arc<StoredObject>]) {
        let mut graph = self.0.write();
        graph.clear();
        for object in objects {
            if let Ok(pod) = object.get::<Pod>() {
                graph.set(&pod);
            }
        }
    }

    fn set(&self, object: &StoredObject) {
        if let Ok(pod) = object.get::<Pod>() {
            self.0.write().set(&pod);
        }
    }

    fn remove(&self, object: &StoredObject) {
        let meta = object.meta();
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        self.0.write().remove(namespace.unwrap_or_default(), name.unwrap_or_default());
    }
}

const NO_RELATION: &str = "no relationship found between node";

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn unrelated(node: &str) -> Decision {
    no(format!("{NO_RELATION} '{node}' and this object"))
}

#[async_trait]
impl Authorizer for Node {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let Some(node) = node_name(&attributes.user) else { return no("") };
        if !attributes.resource_request {
            return self.by_rules(attributes);
        }
        match (attributes.group.as_ref(), attributes.resource.as_ref()) {
            ("", "secrets") => self.readable(node, attributes, Kind::Secret),
            ("", "configmaps") => self.readable(node, attributes, Kind::ConfigMap),
            ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
                match attributes.verb.as_ref() {
                    "get" | "update" | "patch" => self.related(node, attributes, Kind::Claim),
                    _ => no("can only get/update/patch this type"),
                }
            }
            ("", "persistentvolumeclaims") => self.gettable(node, attributes, Kind::Claim),
            ("", "persistentvolumes") => self.volume(node, attributes).await,
            ("resource.k8s.io", "resourceclaims") => self.gettable(node, attributes, Kind::ResourceClaim),
            ("storage.k8s.io", "volumeattachments") => self.attachment(node, attributes).await,
            ("", "serviceaccounts") => self.account(node, attributes),
            ("coordination.k8s.io", "leases") => own_lease(node, attributes),
            ("storage.k8s.io", "csinodes") => {
                own(node, attributes, "can only access CSINode with the same name")
            }
            ("resource.k8s.io", "resourceslices") => self.slices(node, attributes),
            ("", "nodes") => self.node(node, attributes),
            ("", "pods") => self.pod(node, attributes),
            _ => self.by_rules(attributes),
        }
    }

    fn reason(&self, _: &Attributes) -> String {
        String::new()
    }
}

impl Node {
    fn by_rules(&self, attributes: &Attributes) -> Decision {
        match self.rules.iter().any(|rule| rbac::allows(rule, attributes)) {
            true => Decision::Allow,
            false => no(""),
        }
    }

    fn related(&self, node: &str, attributes: &Attributes, kind: Kind) -> Decision {
        if attributes.name.is_empty() {
            return no("No Object name found");
        }
        match self.graph.read().reaches(node, kind, &attributes.namespace, &attributes.name) {
            true => Decision::Allow,
            false => unrelated(node),
        }
    }

    fn gettable(&self, node: &str, attributes: &Attributes, kind: Kind) -> Decision {
        if attributes.verb != "get" || !attributes.subresource.is_empty() {
            return no("can only get individual resources of this type");
        }
        self.related(node, attributes, kind)
    }

    /// Secrets and config maps may also be listed and watched, one by name.
    fn readable(&self, node: &str, attributes: &Attributes, kind: Kind) -> Decision {
        if !attributes.read_only() || !attributes.subresource.is_empty() {
            return no("can only read resources of this type");
        }
        if attributes.namespace.is_empty() || attributes.name.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, attributes, kind)
    }

    async fn volume(&self, node: &str, attributes: &Attributes) -> Decision {
        if attributes.verb != "get" || !attributes.subresource.is_empty() || attributes.name.is_empty() {
            return no("can only get individual resources of this type");
        }
        let claims = self.graph.read().all(node, Kind::Claim);
        let storage = GroupResource::new("", "persistentvolumeclaims");
        for (namespace, name) in claims {
            let Ok(Some(claim)) = self.lookup.get(&storage, &namespace, &name).await else { continue };
            let Ok(claim) = claim.get::<PersistentVolumeClaim>() else { continue };
            if claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()) == Some(&attributes.name) {
                return Decision::Allow;
            }
        }
        unrelated(node)
    }

    async fn attachment(&self, node: &str, attributes: &Attributes) -> Decision {
        if attributes.verb != "get" || !attributes.subresource.is_empty() || attributes.name.is_empty() {
            return no("can only get individual resources of this type");
        }
        let storage = GroupResource::new("storage.k8s.io", "volumeattachments");
        match self.lookup.get(&storage, "", &attributes.name).await {
            Ok(Some(found)) => match found.get::<VolumeAttachment>() {
                Ok(attachment) if attachment.spec.node_name == node => Decision::Allow,
                _ => unrelated(node),
            },
            _ => unrelated(node),
        }
    }

    fn account(&self, node: &str, attributes: &Attributes) -> Decision {
        match (attributes.verb.as_ref(), attributes.subresource.as_ref()) {
            ("create", "token") if attributes.name.is_empty() || attributes.namespace.is_empty() => {
                no("can only create tokens for individual service accounts")
            }
            ("create", "token") | ("get", "") => self.related(node, attributes, Kind::Account),
            _ => no("can only create tokens for individual service accounts"),
        }
    }

    fn slices(&self, node: &str, attributes: &Attributes) -> Decision {
        let mine = || selects(attributes, "spec.nodeName", node);
        match attributes.verb.as_ref() {
            "list" | "watch" | "deletecollection" if !mine() => no(format!(
                "can only list/watch/deletecollection resourceslices with spec.nodeName field selector for the node {node}"
            )),
            _ => self.by_rules(attributes),
        }
    }

    fn node(&self, node: &str, attributes: &Attributes) -> Decision {
        match (attributes.verb.as_ref(), attributes.subresource.as_ref()) {
            ("create", "") => self.by_rules(attributes),
            ("get" | "list" | "watch" | "update" | "patch", "") | ("update" | "patch", "status") => {
                match attributes.name == node {
                    true => Decision::Allow,
                    false => no(format!(
                        "node '{node}' cannot read '{}', only its own Node object",
                        attributes.name
                    )),
                }
            }
            ("get", "metrics" | "configz" | "healthz" | "pods" | "stats" | "log" | "checkpoint") => no(""),
            _ => self.by_rules(attributes),
        }
    }

    fn pod(&self, node: &str, attributes: &Attributes) -> Decision {
        match (attributes.verb.as_ref(), attributes.subresource.as_ref()) {
            ("get", "") => self.related(node, attributes, Kind::Pod),
            ("list" | "watch", "") => {
                let named = !attributes.name.is_empty()
                    && self.graph.read().reaches(node, Kind::Pod, &attributes.namespace, &attributes.name);
                match named || selects(attributes, "spec.nodeName", node) {
                    true => Decision::Allow,
                    false => no("can only list/watch pods with spec.nodeName field selector"),
                }
            }
            _ => self.by_rules(attributes),
        }
    }
}

/// Whether the field selector demands that `field` is `value`.
fn selects(attributes: &Attributes, field: &str, value: &str) -> bool {
    let Some(selector) = &attributes.field_selector else { return false };
    selector.split(',').any(|term| {
        let Some((key, wanted)) = term.split_once('=') else { return false };
        key.trim() == field && wanted.trim_start_matches('=').trim() == value
    })
}

fn own_lease(node: &str, attributes: &Attributes) -> Decision {
    if attributes.namespace != "kube-node-lease" {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    own(node, attributes, "can only access node lease with the same name as the requesting node")
}

/// Objects named as the node. A creation has no name yet; NodeRestriction checks it.
fn own(node: &str, attributes: &Attributes, refusal: &str) -> Decision {
    match attributes.verb.as_ref() {
        "create" => Decision::Allow,
        "get" | "update" | "patch" | "delete" if attributes.name == node => Decision::Allow,
        "get" | "update" | "patch" | "delete" => no(refusal),
        _ => no("can only get, create, update, patch, or delete"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_must_name_the_node() {
        let with = |selector: &str| Attributes {
            field_selector: Some(selector.to_owned()),
            ..Attributes::default()
        };
        for (selector, expected) in [
            ("spec.nodeName=n1", true),
            ("status.phase!=Failed,spec.nodeName==n1", true),
            ("spec.nodeName=n2", false),
            ("spec.nodeName!=n1", false),
            ("", false),
        ] {
            assert_eq!(selects(&with(selector), "spec.nodeName", "n1"), expected, "{selector}");
        }
    }

    #[test]
    fn only_members_of_the_group_are_nodes() {
        assert_eq!(node_name(&UserInfo::new("system:node:a", &["system:nodes"])), Some("a"));
        assert_eq!(node_name(&UserInfo::new("system:node:a", &[])), None);
        assert_eq!(node_name(&UserInfo::new("system:node:", &["system:nodes"])), None);
    }
}
