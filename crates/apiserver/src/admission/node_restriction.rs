//! NodeRestriction: a kubelet changes only its own node and the pods that run there.
//!
//! Source: "Using Node Authorization", section on the admission plugin. Deliberately absent: what a kubelet may
//! read, which is the node authorizer's.

use super::{find, forbidden};
use crate::authz::node::node_name;
use crate::contract::{Admission, AdmissionRequest, Context, ObjectCall, Operation};
use api::common::{items, text};
use api::k8s_openapi::api::authentication::v1::TokenRequestSpec;
use api::k8s_openapi::api::coordination::v1::Lease;
use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use async_trait::async_trait;
use machinery::{GroupResource, Status};

const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) struct NodeRestriction(pub(super) Context);

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let Some(node) = node_name(&request.user) else { return Ok(()) };
        let refused = match (request.def.gvk.group.as_ref(), request.def.plural.as_ref()) {
            ("", "pods") => self.pod(request, node).await?,
            ("", "nodes") => self::node(request, node),
            ("coordination.k8s.io", "leases") => lease(request, node),
            ("storage.k8s.io", "csinodes") => {
                named(request, node, "can only access CSINode with the same name")
            }
            _ => None,
        };
        refused.map_or(Ok(()), |why| Err(forbidden(request, why)))
    }
}

impl NodeRestriction {
    async fn pod(&self, request: &AdmissionRequest, node: &str) -> Result<Option<String>, Status> {
        Ok(match (request.operation, request.subresource.as_ref()) {
            (Operation::Create, "") => create_pod(request, node),
            (Operation::Delete, "") => match find::<Pod>(&self.0, &request.namespace, &request.name).await? {
                Some((_, pod)) if node_of(&pod) != node => {
                    Some(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
                }
                _ => None,
            },
            (Operation::Update, "status") => update_status(request, node),
            // Whose pod it is, the handler checks.
            (Operation::Create, "eviction") => None,
            (operation, "") => Some(format!(
                "unexpected operation {:?}, node \"{node}\" can only create and delete mirror pods",
                operation.as_str()
            )),
            (_, subresource) => Some(format!(
                "unexpected pod subresource {subresource:?}, only 'status' and 'eviction' are allowed"
            )),
        })
    }
}

/// Refuses a node a token that is not bound to a pod of its own.
pub(crate) async fn token(
    context: &Context,
    call: &ObjectCall,
    spec: &TokenRequestSpec,
) -> Result<(), Status> {
    let Some(node) = node_name(&call.user) else { return Ok(()) };
    let refuse =
        |why: String| Err(Status::forbidden(&GroupResource::new("", "serviceaccounts"), &call.name, why));
    let bound = spec.bound_object_ref.as_ref();
    let Some(bound) = bound.filter(|b| text(&b.kind) == "Pod" && text(&b.api_version) == "v1") else {
        return refuse("node requested token not bound to a pod".to_owned());
    };
    let (name, uid) = (text(&bound.name), text(&bound.uid));
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid".to_owned());
    }
    match find::<Pod>(context, &call.namespace, name).await? {
        None => refuse(format!("node requested token bound to a pod {name:?} that does not exist")),
        Some((_, pod)) if text(&pod.metadata.uid) != uid => refuse(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )),
        Some((_, pod)) if node_of(&pod) != node => {
            refuse("node requested token bound to a pod scheduled on a different node".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// Refuses a node the eviction of a pod of another.
pub(crate) fn eviction(call: &ObjectCall, pod: &Pod) -> Result<(), Status> {
    match node_name(&call.user) {
        Some(node) if node_of(pod) != node => Err(Status::forbidden(
            &GroupResource::new("", "pods"),
            &call.name,
            format!("node {node:?} can only evict pods with spec.nodeName set to itself"),
        )),
        _ => Ok(()),
    }
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().map(|spec| text(&spec.node_name)).unwrap_or_default()
}

fn create_pod(request: &AdmissionRequest, node: &str) -> Option<String> {
    let pod = request.object.as_deref()?.downcast_ref::<Pod>()?;
    if !pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
        return Some(format!(
            "pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods"
        ));
    }
    if node_of(pod) != node {
        return Some(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"));
    }
    let owners = items(&pod.metadata.owner_references);
    if owners.len() > 1 {
        return Some(format!(
            "node \"{node}\" can only create pods with a single owner reference set to itself"
        ));
    }
    let foreign =
        owners.iter().any(|o| o.kind != "Node" || o.name != node || o.block_owner_deletion == Some(true));
    foreign.then(|| format!("node \"{node}\" can only create pods with an owner reference set to itself"))
}

fn update_status(request: &AdmissionRequest, node: &str) -> Option<String> {
    let new = request.object.as_deref()?.downcast_ref::<Pod>()?;
    let old = request.old.as_deref()?.downcast_ref::<Pod>()?;
    if node_of(old) != node {
        return Some(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    (new.metadata.labels != old.metadata.labels)
        .then(|| format!("node \"{node}\" cannot update labels through pod status"))
}

fn named(request: &AdmissionRequest, node: &str, why: &str) -> Option<String> {
    (request.name != node).then(|| why.to_owned())
}

fn lease(request: &AdmissionRequest, node: &str) -> Option<String> {
    if request.namespace != "kube-node-lease" {
        return Some("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
    }
    let name = match request.object.as_deref().and_then(|object| object.downcast_ref::<Lease>()) {
        Some(lease) if request.operation == Operation::Create => text(&lease.metadata.name),
        _ => request.name.as_str(),
    };
    (name != node).then(|| "can only access node lease with the same name as the requesting node".to_owned())
}

fn node(request: &AdmissionRequest, node: &str) -> Option<String> {
    let object = request.object.as_deref().and_then(|object| object.downcast_ref::<Node>());
    let named = object.map_or(request.name.as_str(), |object| text(&object.metadata.name));
    if named != node {
        return Some(format!("node \"{node}\" is not allowed to modify node {named:?}"));
    }
    match request.operation {
        Operation::Create => {
            let bad = forbidden_labels(&object?.metadata, None);
            (!bad.is_empty()).then(|| {
                format!("node \"{node}\" is not allowed to set the following labels: {}", bad.join(", "))
            })
        }
        Operation::Update => {
            let (new, old) = (object?, request.old.as_deref()?.downcast_ref::<Node>()?);
            let taints =
                |node: &Node| node.spec.as_ref().map(|s| items(&s.taints).to_vec()).unwrap_or_default();
            if taints(new) != taints(old) {
                return Some(format!("node \"{node}\" is not allowed to modify taints"));
            }
            if new.metadata.owner_references != old.metadata.owner_references {
                return Some(format!("node \"{node}\" is not allowed to modify ownerReferences"));
            }
            let bad = forbidden_labels(&new.metadata, Some(&old.metadata));
            (!bad.is_empty()).then(|| format!("is not allowed to modify labels: {}", bad.join(", ")))
        }
        Operation::Delete => Some(format!("node \"{node}\" is not allowed to delete nodes")),
        Operation::Connect => None,
    }
}

/// Labels of Kubernetes' own domains that a kubelet may set.
const KUBELET_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "kubernetes.io/os",
    "kubernetes.io/arch",
];

/// Changed labels that a kubelet may not set, sorted.
fn forbidden_labels(new: &ObjectMeta, old: Option<&ObjectMeta>) -> Vec<String> {
    let empty = std::collections::BTreeMap::new();
    let new = new.labels.as_ref().unwrap_or(&empty);
    let old = old.and_then(|old| old.labels.as_ref()).unwrap_or(&empty);
    let changed = new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key));
    let mut bad: Vec<String> = changed.filter(|key| !kubelet_label(key)).cloned().collect();
    bad.sort();
    bad.dedup();
    bad
}

fn kubelet_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    KUBELET_LABELS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::kubelet_label;

    #[test]
    fn kubelets_set_only_labels_of_theirs() {
        for (label, allowed) in [
            ("disk", true),
            ("example.com/x", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/anything", true),
            ("foo.kubelet.kubernetes.io/x", true),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("kubernetes.io/role", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("foo.k8s.io/x", false),
        ] {
            assert_eq!(kubelet_label(label), allowed, "{label}");
        }
    }
}
