//! [`Services`]: cluster IPs and node ports around the commit of a Service.

use super::addresses::{Addresses, Owner, Taken};
use super::ports::Ports;
use super::{Failure, Refused, repair};
use crate::contract::Context;
use crate::registry::{CommitHook, Reservation};
use api::Object;
use async_trait::async_trait;
use component::Tasks;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use machinery::{FieldErrors, FieldPath, GroupKind, Status};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;

/// What a Service holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) ips: Vec<String>,
    pub(super) ports: Vec<i32>,
}

/// Where addresses and ports come from.
pub(super) struct Allocators {
    pub(super) addresses: Addresses,
    pub(super) ports: Ports,
    tasks: Tasks,
}

/// Cluster IPs and node ports of all Services.
pub(crate) struct Services(Arc<Allocators>);

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn takes_ip(spec: &ServiceSpec) -> bool {
    text(&spec.type_) != "ExternalName" && text(&spec.cluster_ip) != "None"
}

fn takes_ports(spec: &ServiceSpec) -> bool {
    match text(&spec.type_) {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

fn takes_health_port(spec: &ServiceSpec) -> bool {
    text(&spec.type_) == "LoadBalancer" && text(&spec.external_traffic_policy) == "Local"
}

/// Who holds what a Service holds.
pub(super) fn owner(service: &Service) -> Owner {
    let meta = &service.metadata;
    Owner { namespace: text(&meta.namespace).to_owned(), name: text(&meta.name).to_owned() }
}

/// Everything that a Service holds.
pub(super) fn held_by(service: &Service) -> Held {
    let Some(spec) = &service.spec else { return Held::default() };
    let ips = if takes_ip(spec) { spec.cluster_ips.clone().unwrap_or_default() } else { Vec::new() };
    let mut ports: Vec<i32> = spec.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    ports.extend(spec.health_check_node_port);
    ports.retain(|port| *port != 0);
    ports.sort_unstable();
    ports.dedup();
    Held { ips, ports }
}

/// What is reserved for one write.
#[derive(Default)]
struct Reserved {
    ips: Vec<Taken>,
    ports: Vec<i32>,
}

impl Allocators {
    /// Gives back; what fails is found by `repair`.
    async fn give_back(&self, ips: &[Taken], ports: &[i32], owner: &Owner) {
        for taken in ips {
            if let Err(status) = self.addresses.give_back(taken, owner).await {
                tracing::warn!(ip = taken.ip, %status, "failed to release a cluster IP; it will be found later");
            }
        }
        if !ports.is_empty()
            && let Err(failure) = self.ports.give_back(ports).await
        {
            tracing::warn!(?ports, ?failure, "failed to release node ports; they will be found later");
        }
    }
}

/// One write of a Service on its way to its commit.
struct Request<'a> {
    allocators: &'a Allocators,
    owner: Owner,
    known: Held,
    reserved: Reserved,
    errors: FieldErrors,
    dry_run: bool,
}

impl Request<'_> {
    async fn ips(&mut self, spec: &mut ServiceSpec) -> Result<(), Status> {
        let field = FieldPath::new("spec").child("clusterIPs");
        let addresses = &self.allocators.addresses;
        if text(&spec.cluster_ip).is_empty() && spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
            match addresses.take_any(&self.owner, self.dry_run).await {
                Ok(taken) => {
                    spec.cluster_ips = Some(vec![taken.ip.clone()]);
                    spec.cluster_ip = Some(taken.ip.clone());
                    self.reserved.ips.push(taken);
                }
                Err(Failure::Store(status)) => return Err(*status),
                Err(Failure::Refused(_)) => {
                    self.errors.internal(field, "failed to allocate a serviceIP: range is full");
                }
            }
            return Ok(());
        }
        let ips = spec.cluster_ips.clone().unwrap_or_else(|| vec![text(&spec.cluster_ip).to_owned()]);
        for ip in &ips {
            if self.known.ips.contains(ip) {
                continue;
            }
            let why = match addresses.take(ip, &self.owner, self.dry_run).await {
                Ok(taken) => {
                    self.reserved.ips.push(taken);
                    continue;
                }
                Err(Failure::Store(status)) => return Err(*status),
                Err(Failure::Refused(Refused::Taken | Refused::Full)) => {
                    "provided IP is already allocated".to_owned()
                }
                Err(Failure::Refused(Refused::OutOfRange)) => format!(
                    "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                    addresses.range()
                ),
            };
            let printed = serde_json::json!(ips);
            self.errors.invalid(field.clone(), printed, format!("failed to allocate IP {ip}: {why}"));
        }
        if text(&spec.cluster_ip).is_empty() {
            spec.cluster_ip = ips.first().cloned();
        }
        spec.cluster_ips = Some(ips);
        Ok(())
    }

    async fn port(&mut self, wanted: i32, field: FieldPath) -> Result<Option<i32>, Status> {
        if wanted != 0 && (self.known.ports.contains(&wanted) || self.reserved.ports.contains(&wanted)) {
            return Ok(Some(wanted));
        }
        let ports = &self.allocators.ports;
        let why = match ports.take(wanted, self.dry_run).await {
            Ok(port) => {
                self.reserved.ports.push(port);
                return Ok(Some(port));
            }
            Err(Failure::Store(status)) => return Err(*status),
            Err(Failure::Refused(_)) if wanted == 0 => {
                self.errors.internal(field, "failed to allocate a nodePort: range is full");
                return Ok(None);
            }
            Err(Failure::Refused(Refused::Taken | Refused::Full)) => {
                "provided port is already allocated".to_owned()
            }
            Err(Failure::Refused(Refused::OutOfRange)) => format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                ports.range()
            ),
        };
        self.errors.invalid(field, wanted, why);
        Ok(None)
    }

    async fn ports(&mut self, spec: &mut ServiceSpec) -> Result<(), Status> {
        let base = FieldPath::new("spec").child("ports");
        // One port of a node may serve TCP and UDP of the same port of the Service.
        let mut shared: BTreeMap<i32, i32> = BTreeMap::new();
        let mut ports: Vec<_> = spec.ports.iter_mut().flatten().enumerate().collect();
        // Those asked for by number first, so that a chosen one cannot be in their way.
        ports.sort_by_key(|(_, port)| port.node_port.unwrap_or(0) == 0);
        for (index, port) in ports {
            let wanted = match port.node_port.unwrap_or(0) {
                0 => shared.get(&port.port).copied().unwrap_or(0),
                wanted => wanted,
            };
            let field = base.index(index).child("nodePort");
            if let Some(got) = self.port(wanted, field).await? {
                port.node_port = Some(got);
                shared.entry(port.port).or_insert(got);
            }
        }
        Ok(())
    }

    async fn all(&mut self, spec: &mut ServiceSpec) -> Result<(), Status> {
        if takes_ip(spec) {
            self.ips(spec).await?;
        }
        if takes_ports(spec) {
            self.ports(spec).await?;
        }
        if takes_health_port(spec) {
            let field = FieldPath::new("spec").child("healthCheckNodePort");
            let got = self.port(spec.health_check_node_port.unwrap_or(0), field).await?;
            spec.health_check_node_port = got.or(spec.health_check_node_port);
        }
        Ok(())
    }
}

impl Services {
    /// Mends what is stored, and goes on mending it. Needs the registry.
    pub(crate) async fn keep(&self, context: &Context) -> Result<(), Status> {
        repair::round(&self.0, context, &mut BTreeMap::new()).await?;
        repair::keep(self.0.clone(), context);
        Ok(())
    }

    /// The allocators of the configured ranges.
    pub(crate) fn new(context: &Context, store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Allocators {
            addresses: Addresses::new(context),
            ports: Ports::new(store, context.config.node_ports),
            tasks: context.tasks.clone(),
        }))
    }
}

#[async_trait]
impl CommitHook for Services {
    async fn before(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        dry_run: bool,
    ) -> Result<Reservation, Status> {
        let Some(service) = new.downcast_mut::<Service>() else { return Ok(Reservation::none()) };
        let known = old.and_then(|old| old.downcast_ref::<Service>()).map(held_by).unwrap_or_default();
        let owner = owner(service);
        let mut request = Request {
            allocators: &self.0,
            owner: owner.clone(),
            known,
            reserved: Reserved::default(),
            errors: FieldErrors::new(),
            dry_run,
        };
        let outcome = match &mut service.spec {
            Some(spec) => request.all(spec).await,
            None => Ok(()),
        };
        let Request { known, reserved, errors, .. } = request;
        let (undoing, undone_for) = (self.0.clone(), owner.clone());
        let undo = async move {
            // An IPAddress that was there before is someone else's to remove.
            let own: Vec<Taken> = reserved.ips.into_iter().filter(|taken| !taken.uid.is_empty()).collect();
            undoing.give_back(&own, &reserved.ports, &undone_for).await;
        };
        if dry_run {
            outcome?;
            return match errors.is_empty() {
                true => Ok(Reservation::none()),
                false => Err(Status::invalid(&GroupKind::new("", "Service"), &owner.name, &errors)),
            };
        }
        let keeps = held_by(service);
        let freed = Held {
            ips: known.ips.into_iter().filter(|ip| !keeps.ips.contains(ip)).collect(),
            ports: known.ports.into_iter().filter(|port| !keeps.ports.contains(port)).collect(),
        };
        let reservation = Reservation::new(
            &self.0.tasks,
            undo.boxed(),
            release(self.0.clone(), freed, owner.clone()).boxed(),
        );
        outcome?;
        if !errors.is_empty() {
            return Err(Status::invalid(&GroupKind::new("", "Service"), &owner.name, &errors));
        }
        Ok(reservation)
    }

    async fn removed(&self, old: &dyn Object) {
        if let Some(service) = old.downcast_ref::<Service>() {
            release(self.0.clone(), held_by(service), owner(service)).await;
        }
    }
}

/// Gives back what a Service no longer holds.
async fn release(allocators: Arc<Allocators>, held: Held, owner: Owner) {
    let ips: Vec<Taken> = held.ips.into_iter().map(|ip| Taken { ip, uid: String::new() }).collect();
    allocators.give_back(&ips, &held.ports, &owner).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ServicePort;

    #[test]
    fn what_a_service_holds() {
        let port = |number| ServicePort { port: 80, node_port: Some(number), ..ServicePort::default() };
        let mut spec = ServiceSpec {
            type_: Some("NodePort".into()),
            cluster_ip: Some("10.96.0.9".into()),
            cluster_ips: Some(vec!["10.96.0.9".into()]),
            ports: Some(vec![port(30007), port(30007), port(0)]),
            ..ServiceSpec::default()
        };
        let of = |spec: &ServiceSpec| held_by(&Service { spec: Some(spec.clone()), ..Service::default() });
        let held = of(&spec);
        assert_eq!((held.ips, held.ports), (vec!["10.96.0.9".to_owned()], vec![30007]));
        spec.cluster_ip = Some("None".into());
        assert!(of(&spec).ips.is_empty());
    }
}
