//! RuntimeClass: overhead and scheduling constraints of a pod's runtime class.

use super::{find, forbidden, pod, pod_mut};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::PodSpec;
use api::k8s_openapi::api::node::v1::RuntimeClass;
use async_trait::async_trait;
use machinery::Status;
use std::sync::Arc;

pub(super) struct RuntimeClasses(pub(super) Context);

impl RuntimeClasses {
    async fn class(&self, request: &AdmissionRequest) -> Result<Option<Arc<RuntimeClass>>, Status> {
        let spec = pod(request).and_then(|pod| pod.spec.as_ref());
        let Some(name) = spec.map(|spec| text(&spec.runtime_class_name)).filter(|name| !name.is_empty())
        else {
            return Ok(None);
        };
        match find::<RuntimeClass>(&self.0, "", name).await? {
            Some((_, class)) => Ok(Some(class)),
            None => Err(forbidden(request, format!("pod rejected: RuntimeClass {name:?} not found"))),
        }
    }
}

#[async_trait]
impl Admission for RuntimeClasses {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(class) = self.class(request).await? else { return Ok(()) };
        let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
        if let Err(why) = apply(&class, spec) {
            return Err(forbidden(request, why));
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let class = self.class(request).await?;
        let fixed = class.as_ref().and_then(|c| c.overhead.as_ref()).and_then(|o| o.pod_fixed.as_ref());
        let set = pod(request).and_then(|pod| pod.spec.as_ref()).and_then(|spec| spec.overhead.as_ref());
        match set.filter(|set| !set.is_empty()) {
            Some(set) if fixed != Some(set) => Err(forbidden(
                request,
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

fn apply(class: &RuntimeClass, spec: &mut PodSpec) -> Result<(), String> {
    if let Some(fixed) = class.overhead.as_ref().and_then(|o| o.pod_fixed.as_ref()) {
        match &spec.overhead {
            Some(set) if !set.is_empty() && set != fixed => {
                return Err(
                    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into()
                );
            }
            _ => spec.overhead = Some(fixed.clone()),
        }
    }
    let Some(scheduling) = &class.scheduling else { return Ok(()) };
    for (key, value) in scheduling.node_selector.iter().flatten() {
        let selector = spec.node_selector.get_or_insert_default();
        if selector.get(key).is_some_and(|own| own != value) {
            let own = &selector[key];
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        selector.insert(key.clone(), value.clone());
    }
    for toleration in items(&scheduling.tolerations) {
        let tolerations = spec.tolerations.get_or_insert_default();
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    Ok(())
}
