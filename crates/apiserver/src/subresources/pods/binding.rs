//! `pods/binding`: the scheduler gives a pod its node. Also the old resource `bindings`, which does the same.

use super::{resource, target};
use crate::contract::{Context, ObjectCall, SubresourceHandler, UpdateRules, UserInfo, VirtualResource};
use crate::subresources::success;
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{Binding, Node, Pod, PodCondition};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use api::transport::WriteOptions;
use api::{Kind, Object, StoredObject, Verb};
use async_trait::async_trait;
use machinery::{FieldErrors, FieldPath, GroupKind, GroupResource, Status};
use std::sync::Arc;

/// Attempts against other writers of the pod.
const ATTEMPTS: usize = 30;
/// Labels of a node that its pods get (PodTopologyLabels).
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(in crate::subresources) struct PodBinding;
pub(in crate::subresources) struct Bindings;

#[async_trait]
impl SubresourceHandler for PodBinding {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        "binding"
    }

    fn update_rules(&self) -> Option<&dyn UpdateRules> {
        Some(self)
    }

    async fn call(&self, context: &Context, call: ObjectCall) -> Result<Arc<StoredObject>, Status> {
        if call.verb != Verb::Create {
            return Err(Status::method_not_allowed(&resource(), call.verb.as_str()));
        }
        let binding =
            Binding::from_json(&call.body).map_err(|error| Status::bad_request(error.to_string()))?;
        let named = text(&binding.metadata.name);
        if !named.is_empty() && named != call.name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        bind(context, &call.namespace, &call.name, &binding, &call.options).await
    }
}

/// A binding writes the pod through this subresource; only [`bind`] makes such writes, so nothing is taken back.
impl UpdateRules for PodBinding {
    fn prepare(&self, _: &mut dyn Object, _: &dyn Object) {}

    fn validate(&self, _: &dyn Object, _: &dyn Object) -> FieldErrors {
        FieldErrors::new()
    }
}

#[async_trait]
impl VirtualResource for Bindings {
    fn resource(&self) -> (&'static str, &'static str) {
        ("", "bindings")
    }

    async fn create(
        &self,
        context: &Context,
        _: &Arc<UserInfo>,
        namespace: &str,
        object: Box<dyn Object>,
        options: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        if let Some(binding) = object.downcast_ref::<Binding>() {
            bind(context, namespace, text(&binding.metadata.name), binding, options).await?;
        }
        Ok(object)
    }
}

async fn bind(
    context: &Context,
    namespace: &str,
    name: &str,
    binding: &Binding,
    options: &WriteOptions,
) -> Result<Arc<StoredObject>, Status> {
    validate(name, binding)?;
    let node = text(&binding.target.name);
    for _ in 0..ATTEMPTS {
        let stored = context.loopback.get(&target(namespace, name)).await?;
        let pod = stored.get::<Pod>().map_err(Status::internal)?;
        let mut bound = assign(&pod, binding, context)
            .map_err(|why| Status::conflict(&GroupResource::new("", "pods/binding"), name, why))?;
        topology(context, node, &mut bound).await?;
        let body = bound.to_json().into();
        match context.loopback.update(&target(namespace, name).sub("binding"), body, options).await {
            Ok(_) => return success(201),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Status::stale(&resource(), name))
}

fn validate(name: &str, binding: &Binding) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let field = FieldPath::new("target");
    let kind = text(&binding.target.kind);
    if !matches!(kind, "" | "Node") {
        errors.not_supported(field.child("kind"), kind, &["Node", "<empty>"]);
    }
    if text(&binding.target.name).is_empty() {
        errors.required(field.child("name"), "");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("", Binding::KIND), name, &errors))
}

/// The pod on its node, or why it cannot be there.
fn assign(pod: &Pod, binding: &Binding, context: &Context) -> Result<Pod, String> {
    let (name, meta) = (text(&pod.metadata.name), &pod.metadata);
    if let Some(uid) = binding.metadata.uid.as_ref().filter(|uid| !uid.is_empty())
        && meta.uid.as_ref() != Some(uid)
    {
        let found = text(&meta.uid);
        return Err(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"));
    }
    if let Some(version) = binding.metadata.resource_version.as_ref().filter(|version| !version.is_empty())
        && meta.resource_version.as_ref() != Some(version)
    {
        let found = text(&meta.resource_version);
        return Err(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {found}"
        ));
    }
    if meta.deletion_timestamp.is_some() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let mut bound = pod.clone();
    let spec = bound.spec.get_or_insert_default();
    if let Some(node) = spec.node_name.as_ref().filter(|node| !node.is_empty()) {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    if !items(&spec.scheduling_gates).is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    spec.node_name.clone_from(&binding.target.name);
    for (key, value) in binding.metadata.annotations.iter().flatten() {
        bound.metadata.annotations.get_or_insert_default().insert(key.clone(), value.clone());
    }
    let now = Timestamp::from_second(crate::authn::service_account::now(context)).ok().map(Time);
    let conditions = bound.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: now,
        ..PodCondition::default()
    });
    Ok(bound)
}

/// Copies where the node stands to the pod, unless the pod says something itself.
async fn topology(context: &Context, node: &str, pod: &mut Pod) -> Result<(), Status> {
    let Some(found) = context.lookup.get(&GroupResource::new("", Node::PLURAL), "", node).await? else {
        return Ok(());
    };
    for label in TOPOLOGY {
        if let Some(value) = found.meta().labels.as_ref().and_then(|labels| labels.get(label)) {
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.entry(label.to_owned()).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}
