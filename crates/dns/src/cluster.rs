//! [`Cluster`]: what the zone asks about the cluster, and its answer from informers.

use client::{Informer, InformerFactory, ObjectKey};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::IpAddr;
use std::sync::Arc;

/// Index of slices by the Service they belong to, as `namespace/name`.
const BY_SERVICE: &str = "service";
/// Index of services and slices by address.
const BY_ADDRESS: &str = "address";
/// Label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A view of the cluster. Answers at once.
pub trait Cluster: Send + Sync {
    /// Whether the namespace exists.
    fn has_namespace(&self, name: &str) -> bool;
    /// A Service.
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    /// The slices of a Service.
    fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>>;
    /// The Services with this cluster IP.
    fn services_at(&self, address: IpAddr) -> Vec<Arc<Service>>;
    /// The slices that list this address.
    fn slices_at(&self, address: IpAddr) -> Vec<Arc<EndpointSlice>>;
}

/// The cluster as informers see it.
#[derive(Debug)]
pub struct Informed {
    namespaces: Informer<Namespace>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
}

/// The namespace and the Service that a slice belongs to.
pub fn owner(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.as_deref()?, service))
}

/// A Service's own addresses; none for headless and external ones.
pub fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let listed = spec.cluster_ips.clone().unwrap_or_default();
    let all = if listed.is_empty() { spec.cluster_ip.iter().cloned().collect() } else { listed };
    all.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn by_service(slice: &EndpointSlice) -> Vec<String> {
    owner(slice).map(|(namespace, name)| format!("{namespace}/{name}")).into_iter().collect()
}

fn slice_addresses(slice: &EndpointSlice) -> Vec<String> {
    slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect()
}

fn service_addresses(service: &Service) -> Vec<String> {
    cluster_ips(service).iter().map(ToString::to_string).collect()
}

impl Informed {
    /// Starts to follow namespaces, Services and slices.
    pub fn start(informers: &InformerFactory) -> Self {
        let informed = Self {
            namespaces: informers.informer(),
            services: informers.informer(),
            slices: informers.informer(),
        };
        informed.services.add_index(BY_ADDRESS, service_addresses);
        informed.slices.add_index(BY_SERVICE, by_service);
        informed.slices.add_index(BY_ADDRESS, slice_addresses);
        informed
    }

    /// Waits until everything was seen once.
    pub async fn synced(&self) {
        self.namespaces.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
    }
}

impl Cluster for Informed {
    fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.store().get(&ObjectKey::cluster(name)).is_some()
    }
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.store().find(namespace, name)
    }
    fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.store().by_index(BY_SERVICE, &format!("{namespace}/{name}"))
    }
    fn services_at(&self, address: IpAddr) -> Vec<Arc<Service>> {
        self.services.store().by_index(BY_ADDRESS, &address.to_string())
    }
    fn slices_at(&self, address: IpAddr) -> Vec<Arc<EndpointSlice>> {
        self.slices.store().by_index(BY_ADDRESS, &address.to_string())
    }
}
