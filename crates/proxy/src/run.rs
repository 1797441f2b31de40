//! The proxy of one node: follow Services and slices, keep the kernel in step.

use crate::dirty::Dirty;
use crate::health::HealthChecks;
use crate::model::{Backend, backend, health_check_port, ports, ready_on};
use crate::nftables::{Installed, Part, plan};
use client::{Backoff, Client, Informer, InformerFactory};
use component::{SharedClock, Tasks};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use linux::nft::NftError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

const BY_SERVICE: &str = "service";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// How the proxy of a node runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub address: Ipv4Addr,
    /// Where all pods of the cluster are.
    pub pod_cidr: Ipv4Net,
}

struct Proxy {
    config: Config,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    health: HealthChecks,
}

fn owner(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref()?))
}

fn key(service: &Service) -> String {
    let meta = &service.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Runs until `tasks` stop. Rules stay in the kernel then, so that connections go on while nobody is here;
/// `programmed` is told once the first complete set is in place.
pub async fn run(
    config: Config,
    client: Client,
    clock: SharedClock,
    tasks: Tasks,
    programmed: impl FnOnce() + Send,
) {
    let informers = InformerFactory::new(client, clock.clone(), tasks.clone());
    let (services, slices) = (informers.informer::<Service>(), informers.informer::<EndpointSlice>());
    slices.add_index(BY_SERVICE, |slice| owner(slice).into_iter().collect());
    let stopping = tasks.stopping().clone();
    let synced = async {
        services.synced().await;
        slices.synced().await;
    };
    if stopping.run_until_cancelled(synced).await.is_none() {
        return;
    }
    let dirty = Dirty::default();
    let noted = dirty.clone();
    services.on_event(move |event| noted.add(key(event.object())));
    let noted = dirty.clone();
    slices.on_event(move |event| {
        let old = event.old().and_then(|old| owner(old));
        old.into_iter().chain(owner(event.object())).for_each(|service| noted.add(service));
    });
    let health = HealthChecks::new(&tasks);
    let proxy = Arc::new(Proxy { config, services, slices, health });
    let _ = stopping.run_until_cancelled(proxy.follow(dirty, clock, programmed)).await;
}

impl Proxy {
    async fn follow(self: Arc<Self>, dirty: Dirty, clock: SharedClock, programmed: impl FnOnce() + Send) {
        let mut programmed = Some(programmed);
        let mut backoff = Backoff::reflector();
        let mut installed: Option<Installed> = None;
        loop {
            let changed = match &installed {
                Some(_) => dirty.take().await,
                None => BTreeSet::new(),
            };
            let proxy = self.clone();
            let all = installed.is_none();
            let round = tokio::task::spawn_blocking(move || {
                let done = proxy.round(installed, &changed);
                done.map(|now| (now, changed))
            })
            .await;
            installed = match round {
                Ok(Ok((now, changed))) => {
                    backoff.reset();
                    self.tell_health(if all { self.every_service() } else { changed });
                    if let Some(programmed) = programmed.take() {
                        programmed();
                    }
                    Some(now)
                }
                Ok(Err(error)) => {
                    self.health.set_healthy(false);
                    let delay = backoff.next_delay();
                    tracing::error!("{error}; all rules are written anew in {delay:?}");
                    clock.sleep(delay).await;
                    None
                }
                Err(_) => None,
            };
        }
    }

    /// One round: the changed Services, or all when nothing is installed.
    fn round(&self, installed: Option<Installed>, changed: &BTreeSet<String>) -> Result<Installed, NftError> {
        match installed {
            Some(mut installed) => {
                installed
                    .update(changed.iter().map(|service| (service.clone(), self.part(service))).collect())?;
                Ok(installed)
            }
            None => {
                let parts: BTreeMap<String, Part> =
                    self.every_service().into_iter().map(|key| (key.clone(), self.part(&key))).collect();
                Installed::reset(parts)
            }
        }
    }

    fn every_service(&self) -> BTreeSet<String> {
        self.services.store().list().iter().map(|service| key(service)).collect()
    }

    /// Tells load balancers what the rules are now.
    fn tell_health(&self, changed: BTreeSet<String>) {
        for service in changed {
            let (namespace, name) = service.split_once('/').unwrap_or_default();
            let found = self.services.store().find(namespace, name);
            let port = found.and_then(|found| health_check_port(&found));
            let slices = self.slices.store().by_index(BY_SERVICE, &service);
            let ready = ready_on(slices.iter().map(Arc::as_ref), &self.config.node_name);
            self.health.set(&service, port, ready);
        }
        self.health.set_healthy(true);
    }

    fn part(&self, service: &str) -> Part {
        let (namespace, name) = service.split_once('/').unwrap_or_default();
        let Some(found) = self.services.store().find(namespace, name) else { return Part::default() };
        let slices = self.slices.store().by_index(BY_SERVICE, service);
        let backends: Vec<Backend> = ports(&found)
            .into_iter()
            .map(|port| backend(port, slices.iter().map(Arc::as_ref), &self.config.node_name))
            .collect();
        plan(&backends, self.config.pod_cidr, self.config.address)
    }
}
