//! Small plugins that are off unless asked for.

use super::namespace_lifecycle::{concerns, missing, namespace};
use super::{forbidden, pod, pod_mut};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{Namespace, Service, Toleration};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::transport::{Target, WriteOptions};
use api::{Kind, Object};
use async_trait::async_trait;
use machinery::{GroupVersionResource, Status};
use std::collections::BTreeSet;

/// Admits everything; deprecated.
pub(super) struct AlwaysAdmit;
/// Refuses everything.
pub(super) struct AlwaysDeny;
/// Namespaces that are missing are made.
pub(super) struct NamespaceAutoProvision(pub(super) Context);
/// Namespaces must exist, also for updates and deletions.
pub(super) struct NamespaceExists(pub(super) Context);
/// Images are pulled each time, so that only who may pull them can use them.
pub(super) struct AlwaysPullImages;
/// Pods may only keep others away from their own host.
pub(super) struct LimitPodHardAntiAffinityTopology;
/// Pods tolerate the taints of the extended resources that they ask for.
pub(super) struct ExtendedResourceToleration;
/// Services may not take new external addresses.
pub(super) struct DenyServiceExternalIps;

#[async_trait]
impl Admission for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}

#[async_trait]
impl Admission for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        self.validate(request).await
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        Err(forbidden(request, "admission control is denying all modifications"))
    }
}

#[async_trait]
impl Admission for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if concerns(request) && namespace(&self.0, &request.namespace).await?.is_none() {
            return Err(missing(&request.namespace));
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.dry_run || !concerns(request) || namespace(&self.0, &request.namespace).await?.is_some() {
            return Ok(());
        }
        let wanted = Namespace {
            metadata: ObjectMeta { name: Some(request.namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let all = Target::all(GroupVersionResource::new("", "v1", Namespace::PLURAL));
        match self.0.loopback.create(&all, wanted.to_json().into(), &WriteOptions::default()).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Admission for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
        let always = || Some("Always".to_owned());
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            container.image_pull_policy = always();
        }
        for container in spec.ephemeral_containers.iter_mut().flatten() {
            container.image_pull_policy = always();
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let spec = pod(request).and_then(|pod| pod.spec.as_ref());
        let anti = spec.and_then(|s| s.affinity.as_ref()).and_then(|a| a.pod_anti_affinity.as_ref());
        let terms = anti.map(|a| items(&a.required_during_scheduling_ignored_during_execution));
        for term in terms.unwrap_or_default() {
            if term.topology_key != "kubernetes.io/hostname" {
                return Err(forbidden(
                    request,
                    format!(
                        "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {} but only key \
                         kubernetes.io/hostname is allowed",
                        term.topology_key
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Admission for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
        let mut wanted = BTreeSet::new();
        for container in spec.containers.iter().chain(items(&spec.init_containers)) {
            let requests = container.resources.iter().flat_map(|r| r.requests.iter().flatten());
            wanted.extend(requests.map(|(name, _)| name).filter(|name| extended(name)).cloned());
        }
        for key in wanted {
            let tolerations = spec.tolerations.get_or_insert_default();
            let known = |t: &Toleration| text(&t.key) == key && text(&t.operator) == "Exists";
            if !tolerations.iter().any(known) {
                tolerations.push(Toleration {
                    key: Some(key),
                    operator: Some("Exists".to_owned()),
                    ..Toleration::default()
                });
            }
        }
        Ok(())
    }
}

/// Whether a resource is neither Kubernetes' own nor a quota's name.
fn extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| {
        domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io") && !name.starts_with("requests.")
    })
}

#[async_trait]
impl Admission for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if !request.is("", "services") {
            return Ok(());
        }
        let addresses = |object: Option<&dyn Object>| {
            let service = object.and_then(|object| object.downcast_ref::<Service>());
            service.and_then(|s| s.spec.as_ref()).and_then(|s| s.external_ips.clone()).unwrap_or_default()
        };
        let old = addresses(request.old.as_deref());
        if addresses(request.object.as_deref()).iter().all(|address| old.contains(address)) {
            return Ok(());
        }
        Err(forbidden(request, "Use of external IPs is denied by admission control"))
    }
}
