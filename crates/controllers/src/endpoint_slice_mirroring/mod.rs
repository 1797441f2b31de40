//! Mirrors Endpoints that users made for services without a selector into EndpointSlices, which is what the service proxy
//! and DNS read.

use crate::common::endpoints::selector_of;
use crate::common::expect::Expectations;
use crate::common::owners::{controller_reference, enqueue};
use crate::context::Context;
use client::{Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use machinery::Status;
use std::collections::BTreeMap;
use std::sync::Arc;

const WORKERS: usize = 5;
const INDEX: &str = "mirrored";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are only a lock are not mirrored.
const LOCK: &str = "control-plane.alpha.kubernetes.io/leader";
/// Most addresses of a subset that are mirrored.
const CAPACITY: usize = 1000;

/// The Endpoints that one of our slices mirrors.
fn mirrored_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.get(MANAGER_LABEL).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or(""), labels.get(SERVICE_LABEL)?))
}

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let all = context.informers.informer::<Endpoints>();
    let services = context.informers.informer::<Service>();
    let slices = context.informers.informer::<EndpointSlice>();
    slices.add_index(INDEX, |slice| mirrored_of(slice).map(|key| key.to_string()).into_iter().collect());
    let queue = context.queue::<ObjectKey>();
    enqueue(&all, &queue);
    enqueue(&services, &queue);
    let changed = queue.clone();
    slices.on_event(move |event| {
        if let Some(key) = mirrored_of(event.object()) {
            changed.add(key);
        }
    });
    all.synced().await;
    services.synced().await;
    slices.synced().await;
    let expectations = Expectations::new(&slices);
    let worker = Arc::new(Worker { context: context.clone(), all, services, slices, expectations });
    run_workers("endpointslice-mirroring-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await.map(|()| Requeue::No) }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    all: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    expectations: Expectations<EndpointSlice>,
}

fn wants_mirror(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let skips = labels.and_then(|labels| labels.get(SKIP_LABEL)).is_some_and(|value| value == "true");
    let is_lock = endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LOCK));
    !skips && !is_lock
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), Status> {
        if !self.expectations.settled(key) {
            return Ok(());
        }
        let service = self.services.store().get(key).filter(|service| selector_of(service).is_none());
        let source =
            self.all.store().get(key).filter(|endpoints| wants_mirror(endpoints) && service.is_some());
        let mut wanted = source.map(|endpoints| mirror(&endpoints)).unwrap_or_default();
        let api = self.context.client.namespaced::<EndpointSlice>(&key.namespace);
        for slice in self.slices.store().by_index(INDEX, &key.to_string()) {
            let at =
                wanted.iter().position(|w| w.address_type == slice.address_type && w.ports == slice.ports);
            let Some(at) = at else {
                match api.delete(slice.metadata.name.as_deref().unwrap_or("")).await {
                    Err(status) if !status.is_not_found() => return Err(status),
                    _ => self.expectations.deleted(key, &*slice),
                }
                continue;
            };
            let next = wanted.remove(at);
            if next.endpoints != slice.endpoints || next.metadata.labels != slice.metadata.labels {
                let mut changed = EndpointSlice::clone(&slice);
                changed.endpoints = next.endpoints;
                changed.metadata.labels = next.metadata.labels;
                self.expectations.wrote(key, &*api.update(&changed).await?);
            }
        }
        for slice in wanted {
            match api.create(&slice).await {
                Ok(created) => self.expectations.wrote(key, &*created),
                Err(status) if crate::common::pod_control::is_namespace_terminating(&status) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(())
    }
}

/// The slices of Endpoints: one per subset and address family.
fn mirror(source: &Endpoints) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for subset in source.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|address| endpoint(address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| endpoint(address, false));
        let mut families: BTreeMap<&str, Vec<Endpoint>> = BTreeMap::new();
        for endpoint in ready.chain(unready).take(CAPACITY) {
            let family = if endpoint.addresses.iter().any(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
            families.entry(family).or_default().push(endpoint);
        }
        for (family, endpoints) in families {
            slices.push(slice(source, family, ports.clone(), endpoints));
        }
    }
    slices
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn slice(
    source: &Endpoints,
    family: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let name = source.metadata.name.clone().unwrap_or_default();
    let mut slice = EndpointSlice {
        address_type: family.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports),
        ..EndpointSlice::default()
    };
    let mut labels = source.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.to_owned(), name.clone());
    labels.insert(MANAGER_LABEL.to_owned(), MANAGER.to_owned());
    slice.metadata.generate_name = Some(format!("{name}-"));
    slice.metadata.namespace = source.metadata.namespace.clone();
    slice.metadata.labels = Some(labels);
    slice.metadata.owner_references = Some(vec![controller_reference(source)]);
    slice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;
    use client::Patch;

    #[tokio::test]
    async fn slices_follow_the_endpoints_of_users() {
        let world = World::new();
        let client = world.client();
        world.start(run);
        let service =
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"db"},"spec":{"ports":[{"port":80}]}}"#;
        let services = client.namespaced::<Service>("default");
        services.create(&Service::from_json(service.as_bytes()).unwrap()).await.unwrap();
        let endpoints = r#"{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"db"},"subsets":[{"addresses":[{"ip":"10.9.8.7"}],
            "ports":[{"port":8080}]}]}"#;
        let all = client.namespaced::<Endpoints>("default");
        all.create(&Endpoints::from_json(endpoints.as_bytes()).unwrap()).await.unwrap();
        let shown = || {
            let slices = world.api.objects::<EndpointSlice>();
            let ends = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
            ends.flat_map(|end| end.addresses.clone()).collect::<Vec<_>>()
        };
        world.until("it is mirrored", || shown() == ["10.9.8.7"]).await;
        let patch = r#"{"subsets":[{"addresses":[{"ip":"10.9.8.6"}],"ports":[{"port":8080}]}]}"#;
        all.patch("db", Patch::Merge(patch.into())).await.unwrap();
        world.until("the change is mirrored", || shown() == ["10.9.8.6"]).await;
        let patch = r#"{"spec":{"selector":{"app":"db"}}}"#;
        services.patch("db", Patch::Merge(patch.into())).await.unwrap();
        world.until("a selector ends it", || world.api.objects::<EndpointSlice>().is_empty()).await;
    }
}
