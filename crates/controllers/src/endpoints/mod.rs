//! Endpoints of services with a selector, for clients that still read that older kind.

use crate::common::endpoints::{self, Port, enqueue_services, selector_of};
use crate::common::owners::enqueue;
use crate::common::pods;
use crate::context::Context;
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use machinery::Status;
use std::collections::BTreeMap;
use std::sync::Arc;

const WORKERS: usize = 5;
/// Most addresses in one object; consumers of more use EndpointSlices.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGER_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let services = context.informers.informer::<Service>();
    let pods = context.informers.informer::<Pod>();
    let all = context.informers.informer::<Endpoints>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&services, &queue);
    enqueue_services(&pods, &services, &queue);
    enqueue(&all, &queue);
    services.synced().await;
    pods.synced().await;
    all.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), services, pods, all });
    run_workers("endpoint-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    all: Informer<Endpoints>,
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGER_LABEL)).map(String::as_str) == Some(MANAGER)
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let api = self.context.client.namespaced::<Endpoints>(&key.namespace);
        let existing = self.all.store().get(key);
        let Some(service) = self.services.store().get(key) else {
            if existing.is_some_and(|endpoints| is_ours(&endpoints)) {
                match api.delete(&key.name).await {
                    Err(status) if !status.is_not_found() => return Err(status),
                    _ => {}
                }
            }
            return Ok(Requeue::No);
        };
        let Some(selector) = selector_of(&service) else { return Ok(Requeue::No) };
        let mut pods = self.pods.store().list_in(&key.namespace);
        pods.retain(|pod| selector.matches(&pod.metadata.labels));
        let wanted = desired(&service, &pods);
        let outcome = match existing {
            None => crate::service_account::absorb(api.create(&wanted).await.map(drop)).map(drop),
            Some(known) if is_same(&known, &wanted) => Ok(()),
            Some(known) => {
                let mut next = Endpoints::clone(&known);
                next.subsets = wanted.subsets;
                next.metadata.labels = wanted.metadata.labels;
                let annotations = next.metadata.annotations.get_or_insert_default();
                annotations.remove(OVER_CAPACITY);
                annotations.extend(wanted.metadata.annotations.unwrap_or_default());
                api.update(&next).await.map(drop)
            }
        };
        if let Err(status) = &outcome
            && !status.is_conflict()
        {
            let message = format!("Failed to update endpoint {key}: {status}");
            self.context.recorder.event(&*service, EventType::Warning, "FailedToUpdateEndpoint", message);
        }
        outcome.map(|()| Requeue::No)
    }
}

fn is_same(known: &Endpoints, wanted: &Endpoints) -> bool {
    let truncated = |endpoints: &Endpoints| {
        endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(OVER_CAPACITY))
    };
    let subsets = |endpoints: &Endpoints| endpoints.subsets.clone().unwrap_or_default();
    subsets(known) == subsets(wanted)
        && known.metadata.labels == wanted.metadata.labels
        && truncated(known) == truncated(wanted)
}

fn address(service: &Service, pod: &Pod, ip: &str) -> EndpointAddress {
    let node = pods::node_of(pod);
    EndpointAddress {
        ip: ip.to_owned(),
        hostname: endpoints::hostname(pod, service),
        node_name: (!node.is_empty()).then(|| node.to_owned()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    }
}

/// The object that should be.
fn desired(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    /// Addresses that are ready, and those that are not.
    type Addresses = (Vec<EndpointAddress>, Vec<EndpointAddress>);
    let mut by_ports: BTreeMap<Vec<Port>, Addresses> = BTreeMap::new();
    let publish = endpoints::publishes_not_ready(service);
    let v6 = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.as_ref()?.first())
        .is_some_and(|f| f == "IPv6");
    let (mut count, mut truncated) = (0, false);
    for pod in pods.iter().filter(|pod| endpoints::belongs(pod) && (publish || !pods::is_terminating(pod))) {
        let Some(ip) = endpoints::ips(pod).into_iter().find(|ip| ip.contains(':') == v6) else { continue };
        if count == CAPACITY {
            truncated = true;
            break;
        }
        let mut ports = endpoints::ports(service, pod);
        ports.sort();
        let headless_without_ports = endpoints::is_headless(service)
            && service.spec.as_ref().is_none_or(|spec| spec.ports.as_ref().is_none_or(Vec::is_empty));
        if ports.is_empty() && !headless_without_ports {
            continue;
        }
        count += 1;
        let (ready, not_ready) = by_ports.entry(ports).or_default();
        let list = if publish || pods::is_ready(pod) { ready } else { not_ready };
        list.push(address(service, pod, ip));
    }
    let mut wanted = Endpoints::default();
    wanted.metadata.name = service.metadata.name.clone();
    wanted.metadata.namespace = service.metadata.namespace.clone();
    let mut labels = endpoints::labels(service);
    labels.insert(MANAGER_LABEL.to_owned(), MANAGER.to_owned());
    wanted.metadata.labels = Some(labels);
    if truncated {
        wanted.metadata.annotations = Some([(OVER_CAPACITY.to_owned(), "truncated".to_owned())].into());
    }
    let subsets: Vec<_> = by_ports.into_iter().map(|(ports, addresses)| subset(ports, addresses)).collect();
    wanted.subsets = (!subsets.is_empty()).then_some(subsets);
    wanted
}

fn subset(ports: Vec<Port>, addresses: (Vec<EndpointAddress>, Vec<EndpointAddress>)) -> EndpointSubset {
    let sorted = |mut list: Vec<EndpointAddress>| {
        list.sort_by(|a, b| a.ip.cmp(&b.ip));
        (!list.is_empty()).then_some(list)
    };
    let ports = ports.into_iter().map(|port| EndpointPort {
        name: (!port.name.is_empty()).then_some(port.name),
        port: port.port,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    });
    let ports: Vec<_> = ports.collect();
    EndpointSubset {
        addresses: sorted(addresses.0),
        not_ready_addresses: sorted(addresses.1),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{World, template};

    #[tokio::test]
    async fn follow_the_pods_of_a_service() {
        let world = World::new();
        let client = world.client();
        world.start(run);
        world.start(crate::endpoint_slice::run);
        let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},
            "spec":{"selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080}]}}"#;
        let service: Service = api::Kind::from_json(service.as_bytes()).unwrap();
        client.namespaced::<Service>("default").create(&service).await.unwrap();
        let mut pod = pods::from_template(&template("web"));
        pod.metadata.name = Some("p".to_owned());
        pod.metadata.namespace = Some("default".to_owned());
        let pod = client.namespaced::<Pod>("default").create(&pod).await.unwrap();
        world.make_ready(&pod).await;
        let shown = || {
            let all = world.api.objects::<Endpoints>();
            let subset = all.first().and_then(|endpoints| endpoints.subsets.as_ref()?.first().cloned());
            subset.map(|s| (s.addresses.unwrap_or_default().len(), s.ports.unwrap_or_default()[0].port))
        };
        let sliced = || {
            let all = world.api.objects::<k8s_openapi::api::discovery::v1::EndpointSlice>();
            all.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).sum::<usize>()
        };
        world.until("the pod is shown", || shown() == Some((1, 8080)) && sliced() == 1).await;
        client.namespaced::<Service>("default").delete("web").await.unwrap();
        world
            .until("the endpoints go with the service", || world.api.objects::<Endpoints>().is_empty())
            .await;
    }
}
