//! Which pods stand behind a service, under which ports and names. Shared by EndpointSlices and Endpoints.

use super::pods;
use client::{Informer, ObjectKey, WorkQueue};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::labels::Selector;
use std::collections::BTreeMap;

/// The port under which a pod serves a port of the service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: i32,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
}

/// The selector of a service, if its endpoints are ours to make.
pub(crate) fn selector_of(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    Selector::from_labels(labels).ok()
}

/// Whether the service has no virtual address.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods count as ready before they are.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// Whether a pod is behind the service at all: it has an address and has not run to its end.
pub(crate) fn belongs(pod: &Pod) -> bool {
    !pods::is_terminal(pod) && !ips(pod).is_empty()
}

/// The addresses of a pod.
pub(crate) fn ips(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all: Vec<&str> =
        status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).filter(|ip| !ip.is_empty()).collect();
    if all.is_empty() {
        status.pod_ip.as_deref().filter(|ip| !ip.is_empty()).into_iter().collect()
    } else {
        all
    }
}

/// The pod's own name under the service, if it has one there.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_ref().filter(|name| !name.is_empty())?;
    (spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace)
        .then(|| hostname.clone())
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            let found = ports.find(|candidate| {
                candidate.name.as_deref() == Some(name)
                    && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            found.map(|port| port.container_port)
        }
    }
}

/// The ports of the service as this pod serves them; those it does not are left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let all = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    all.filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            port: target(port, pod)?,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    })
    .collect()
}

/// The service's labels as its endpoints carry them.
pub(crate) fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove("service.kubernetes.io/headless");
    if is_headless(service) {
        labels.insert("service.kubernetes.io/headless".to_owned(), String::new());
    }
    labels
}

/// Queues the services that select a pod, or selected it before, whenever what they show of it changes.
pub(crate) fn enqueue_services(
    pods: &Informer<Pod>,
    services: &Informer<Service>,
    queue: &WorkQueue<ObjectKey>,
) {
    let (services, queue) = (services.clone(), queue.clone());
    pods.on_event(move |event| {
        let (pod, old) = (event.object(), event.old());
        if old.is_some_and(|old| looks_the_same(old, pod)) {
            return;
        }
        let metas: Vec<&ObjectMeta> =
            [Some(&pod.metadata), old.map(|old| &old.metadata)].into_iter().flatten().collect();
        for service in services.store().list_in(pod.metadata.namespace.as_deref().unwrap_or("")) {
            let Some(selector) = selector_of(&service) else { continue };
            if metas.iter().any(|meta| selector.matches(&meta.labels)) {
                queue.add(ObjectKey::of(&service.metadata));
            }
        }
    });
}

fn looks_the_same(old: &Pod, new: &Pod) -> bool {
    let view = |pod: &Pod| {
        (
            pods::is_ready(pod),
            pods::is_terminating(pod),
            pods::is_terminal(pod),
            pods::node_of(pod).to_owned(),
        )
    };
    old.metadata.labels == new.metadata.labels
        && old.metadata.uid == new.metadata.uid
        && ips(old) == ips(new)
        && view(old) == view(new)
}
