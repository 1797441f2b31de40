//! [`Services`]: cluster IPs and node ports around the commit of a Service.

use super::pool::{Pool, Refused};
use crate::registry::{CommitHook, Reservation};
use api::Object;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use machinery::{FieldErrors, FieldPath, GroupKind, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What a Service holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Ip(usize),
    Port(usize),
}

struct Pools {
    network: u32,
    bits: u8,
    ips: Pool,
    ports_from: u16,
    ports_to: u16,
    ports: Pool,
}

/// Cluster IPs and node ports of all Services.
pub(crate) struct Services(Arc<Pools>);

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

/// What is reserved for one write; given back on drop.
struct Reserved {
    pools: Arc<Pools>,
    held: Vec<Held>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for held in &self.held {
            self.pools.give_back(*held);
        }
    }
}

impl Pools {
    fn give_back(&self, held: Held) {
        match held {
            Held::Ip(at) => self.ips.give_back(at),
            Held::Port(at) => self.ports.give_back(at),
        }
    }

    fn ip_index(&self, ip: &str) -> Option<usize> {
        let ip = u32::from(ip.parse::<Ipv4Addr>().ok()?);
        // The network's own address, index 0 below, is not in the pool.
        usize::try_from(ip.checked_sub(self.network)?.checked_sub(1)?).ok()
    }

    fn port_index(&self, port: i32) -> Option<usize> {
        usize::try_from(port.checked_sub(i32::from(self.ports_from))?).ok()
    }

    /// Everything that a Service holds.
    fn held_by(&self, service: &Service) -> Vec<Held> {
        let Some(spec) = &service.spec else { return Vec::new() };
        let mut held = Vec::new();
        if takes_ip(spec) {
            let ips = spec.cluster_ips.iter().flatten().filter_map(|ip| self.ip_index(ip));
            held.extend(ips.map(Held::Ip));
        }
        let ports = spec.ports.iter().flatten().filter_map(|port| port.node_port);
        let ports = ports.chain(spec.health_check_node_port).filter(|port| *port != 0);
        for port in ports.filter_map(|port| self.port_index(port)).map(Held::Port) {
            if !held.contains(&port) {
                held.push(port);
            }
        }
        held
    }

    fn range(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.network), self.bits)
    }
}

impl Services {
    /// Empty pools of a network and a range of ports.
    pub(crate) fn new((network, bits): (Ipv4Addr, u8), (from, to): (u16, u16)) -> Self {
        let host_bits = 32_u32.saturating_sub(u32::from(bits)).min(20);
        // Neither the network's own address nor the broadcast address is given out.
        let ips = (1_usize << host_bits).saturating_sub(2);
        let ports = usize::from(to.saturating_sub(from)) + 1;
        let low =
            |size: usize, part: usize, most: usize| if size < 16 { 0 } else { (size / part).clamp(16, most) };
        Self(Arc::new(Pools {
            network: u32::from(network),
            bits,
            ips: Pool::new(ips, low(ips, 16, 256)),
            ports_from: from,
            ports_to: to,
            ports: Pool::new(ports, low(ports, 32, 128)),
        }))
    }

    /// Marks what a stored Service holds, at the start.
    pub(crate) fn adopt(&self, service: &Service) {
        for held in self.0.held_by(service) {
            let taken = match held {
                Held::Ip(at) => self.0.ips.take(at),
                Held::Port(at) => self.0.ports.take(at),
            };
            if let Err(why) = taken {
                let name = text(&service.metadata.name);
                tracing::warn!(
                    service = name,
                    ?held,
                    ?why,
                    "a Service holds what it cannot have; recreate it"
                );
            }
        }
    }

    fn ips(&self, spec: &mut ServiceSpec, known: &[Held], reserved: &mut Reserved, errors: &mut FieldErrors) {
        let field = FieldPath::new("spec").child("clusterIPs");
        if text(&spec.cluster_ip).is_empty() && spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
            match self.0.ips.take_any() {
                Ok(at) => {
                    reserved.held.push(Held::Ip(at));
                    let at = u32::try_from(at).unwrap_or(u32::MAX);
                    let ip = Ipv4Addr::from(self.0.network.saturating_add(1).saturating_add(at)).to_string();
                    spec.cluster_ips = Some(vec![ip.clone()]);
                    spec.cluster_ip = Some(ip);
                }
                Err(_) => errors.internal(field, "failed to allocate a serviceIP: range is full"),
            }
            return;
        }
        let ips = spec.cluster_ips.clone().unwrap_or_else(|| vec![text(&spec.cluster_ip).to_owned()]);
        for ip in &ips {
            let refused = match self.0.ip_index(ip) {
                Some(at) if known.contains(&Held::Ip(at)) => continue,
                Some(at) => self.0.ips.take(at).map(|()| reserved.held.push(Held::Ip(at))).err(),
                None => Some(Refused::OutOfRange),
            };
            let why = match refused {
                None => continue,
                Some(Refused::Taken | Refused::Full) => "provided IP is already allocated".to_owned(),
                Some(Refused::OutOfRange) => {
                    format!(
                        "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                        self.0.range()
                    )
                }
            };
            let printed = serde_json::json!(ips);
            errors.invalid(field.clone(), printed, format!("failed to allocate IP {ip}: {why}"));
        }
        if text(&spec.cluster_ip).is_empty() {
            spec.cluster_ip = ips.first().cloned();
        }
        spec.cluster_ips = Some(ips);
    }

    fn port(
        &self,
        wanted: i32,
        field: FieldPath,
        known: &[Held],
        reserved: &mut Reserved,
        errors: &mut FieldErrors,
    ) -> Option<i32> {
        if wanted == 0 {
            return match self.0.ports.take_any() {
                Ok(at) => {
                    reserved.held.push(Held::Port(at));
                    i32::try_from(at).ok().map(|at| at + i32::from(self.0.ports_from))
                }
                Err(_) => {
                    errors.internal(field, "failed to allocate a nodePort: range is full");
                    None
                }
            };
        }
        let refused = match self.0.port_index(wanted) {
            Some(at) if known.contains(&Held::Port(at)) || reserved.held.contains(&Held::Port(at)) => None,
            Some(at) => self.0.ports.take(at).map(|()| reserved.held.push(Held::Port(at))).err(),
            None => Some(Refused::OutOfRange),
        };
        let why = match refused {
            None => return Some(wanted),
            Some(Refused::Taken | Refused::Full) => "provided port is already allocated".to_owned(),
            Some(Refused::OutOfRange) => format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                self.0.ports_from, self.0.ports_to
            ),
        };
        errors.invalid(field, wanted, why);
        None
    }

    fn ports(
        &self,
        spec: &mut ServiceSpec,
        known: &[Held],
        reserved: &mut Reserved,
        errors: &mut FieldErrors,
    ) {
        let base = FieldPath::new("spec").child("ports");
        // One port of a node may serve TCP and UDP of the same port of the Service.
        let mut shared: BTreeMap<i32, i32> = BTreeMap::new();
        let ports = spec.ports.iter_mut().flatten().enumerate();
        let mut ports: Vec<_> = ports.collect();
        // Those asked for by number first, so that a chosen one cannot be in their way.
        ports.sort_by_key(|(_, port)| port.node_port.unwrap_or(0) == 0);
        for (index, port) in ports {
            let wanted = match port.node_port.unwrap_or(0) {
                0 => shared.get(&port.port).copied().unwrap_or(0),
                wanted => wanted,
            };
            let field = base.index(index).child("nodePort");
            if let Some(got) = self.port(wanted, field, known, reserved, errors) {
                port.node_port = Some(got);
                shared.entry(port.port).or_insert(got);
            }
        }
    }
}

impl CommitHook for Services {
    fn before(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        dry_run: bool,
    ) -> Result<Reservation, Status> {
        let Some(service) = new.downcast_mut::<Service>() else { return Ok(Reservation::none()) };
        let old = old.and_then(|old| old.downcast_ref::<Service>());
        let known = old.map(|old| self.0.held_by(old)).unwrap_or_default();
        let mut reserved = Reserved { pools: self.0.clone(), held: Vec::new() };
        let mut errors = FieldErrors::new();
        if let Some(spec) = &mut service.spec {
            if takes_ip(spec) {
                self.ips(spec, &known, &mut reserved, &mut errors);
            }
            if takes_ports(spec) {
                self.ports(spec, &known, &mut reserved, &mut errors);
            }
            if takes_health_port(spec) {
                let field = FieldPath::new("spec").child("healthCheckNodePort");
                let wanted = spec.health_check_node_port.unwrap_or(0);
                let got = self.port(wanted, field, &known, &mut reserved, &mut errors);
                spec.health_check_node_port = got.or(spec.health_check_node_port);
            }
        }
        if !errors.is_empty() {
            let name = text(&service.metadata.name);
            return Err(Status::invalid(&GroupKind::new("", "Service"), name, &errors));
        }
        if dry_run {
            return Ok(Reservation::none());
        }
        let keeps = self.0.held_by(service);
        let freed: Vec<Held> = known.into_iter().filter(|held| !keeps.contains(held)).collect();
        let pools = self.0.clone();
        let reserved = Arc::new(Mutex::new(Some(reserved)));
        let kept = reserved.clone();
        Ok(Reservation::new(
            move || drop(reserved.lock().take()),
            move || {
                if let Some(mut reserved) = kept.lock().take() {
                    reserved.held.clear();
                }
                for held in freed {
                    pools.give_back(held);
                }
            },
        ))
    }

    fn removed(&self, old: &dyn Object) {
        if let Some(service) = old.downcast_ref::<Service>() {
            for held in self.0.held_by(service) {
                self.0.give_back(held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ServicePort;

    fn service(kind: &str, port: Option<i32>) -> Service {
        let port = ServicePort { port: 80, node_port: port, ..ServicePort::default() };
        let spec =
            ServiceSpec { type_: Some(kind.into()), ports: Some(vec![port]), ..ServiceSpec::default() };
        Service { spec: Some(spec), ..Service::default() }
    }

    fn pools() -> Services {
        Services::new((Ipv4Addr::new(10, 96, 0, 0), 24), (30000, 30100))
    }

    #[test]
    fn a_failed_commit_gives_back_what_it_took() {
        let services = pools();
        let mut one = service("NodePort", Some(30007));
        let reservation = services.before(&mut one, None, false).unwrap();
        assert!(one.spec.as_ref().unwrap().cluster_ip.as_ref().unwrap().starts_with("10.96.0."));
        let taken = services.before(&mut service("NodePort", Some(30007)), None, false).err().unwrap();
        assert!(taken.message.contains("provided port is already allocated"), "{taken}");
        drop(reservation);
        services.before(&mut service("NodePort", Some(30007)), None, false).unwrap();
    }

    #[test]
    fn what_a_service_holds_is_released_with_it() {
        let services = pools();
        let mut one = service("NodePort", Some(30007));
        services.adopt(&{
            let mut adopted = one.clone();
            adopted.spec.as_mut().unwrap().cluster_ip = Some("10.96.0.9".into());
            adopted.spec.as_mut().unwrap().cluster_ips = Some(vec!["10.96.0.9".into()]);
            one = adopted.clone();
            adopted
        });
        let mut other = service("ClusterIP", None);
        other.spec.as_mut().unwrap().cluster_ips = Some(vec!["10.96.0.9".into()]);
        assert!(services.before(&mut other, None, false).is_err());
        services.removed(&one);
        services.before(&mut other, None, false).unwrap();
        let mut outside = service("ClusterIP", None);
        outside.spec.as_mut().unwrap().cluster_ips = Some(vec!["10.97.0.9".into()]);
        assert!(
            services
                .before(&mut outside, None, false)
                .err()
                .unwrap()
                .message
                .contains("not in the valid range")
        );
    }

    #[test]
    fn a_dry_run_keeps_nothing() {
        let services = pools();
        services.before(&mut service("NodePort", Some(30050)), None, true).unwrap();
        services.before(&mut service("NodePort", Some(30050)), None, false).unwrap();
    }
}
