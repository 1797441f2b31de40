//! What the proxy needs of Services and EndpointSlices, IPv4 only.

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// Services with this label are some other proxy's.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// Affinity without a time is kept this long (core/v1 ClientIPConfig), in seconds.
const DEFAULT_AFFINITY: i32 = 10_800;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Its number in IP headers.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name`.
    pub service: String,
    /// Name of the port; may be empty.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// Its number on every node, if it has one.
    pub node_port: Option<u16>,
    /// The Service's own address.
    pub cluster_ip: Ipv4Addr,
    /// Addresses from outside that lead here: external and load balancer IPs.
    pub external_ips: Vec<Ipv4Addr>,
    /// Those of them that belong to load balancers.
    pub balancer_ips: Vec<Ipv4Addr>,
    /// Who may come through a load balancer's address; anybody when empty.
    pub source_ranges: Vec<Ipv4Net>,
    /// Seconds for which a client keeps its endpoint.
    pub affinity: Option<u32>,
    /// Traffic from inside goes only to endpoints of the node it comes from.
    pub internal_local: bool,
    /// Traffic from outside goes only to endpoints of the node it comes to, and keeps its source.
    pub external_local: bool,
}

/// Where a port may lead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Whether it runs on this node.
    pub local: bool,
}

/// A port and the endpoints that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The port.
    pub port: ServicePort,
    /// Its endpoints, sorted, each once: the ready ones, or those that still serve while they terminate when
    /// none is ready (KEP-1669).
    pub endpoints: Vec<Endpoint>,
    /// The same of this node's endpoints alone, for traffic that must stay on the node.
    pub local: Vec<Endpoint>,
    /// Those that serve, terminating ones too: who has one of them may keep it.
    pub serving: Vec<Endpoint>,
}

/// The ports of a Service that a proxy has to do with; none for headless and external ones and for those of
/// another proxy.
pub fn ports(service: &Service) -> Vec<ServicePort> {
    let labels = service.metadata.labels.as_ref();
    let Some(spec) = &service.spec else { return Vec::new() };
    let external = spec.type_.as_deref() == Some("ExternalName");
    if external || labels.is_some_and(|labels| labels.contains_key(OTHER_PROXY)) {
        return Vec::new();
    }
    let Some(cluster_ip) = spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok()) else {
        return Vec::new();
    };
    let (namespace, name) = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
    let balanced = service
        .status
        .iter()
        .flat_map(|status| &status.load_balancer)
        .flat_map(|lb| lb.ingress.iter().flatten());
    let proxied = balanced.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let balancer_ips: Vec<Ipv4Addr> =
        proxied.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()).collect();
    let named = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
    let mut external_ips: Vec<Ipv4Addr> = named.chain(balancer_ips.iter().copied()).collect();
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    let source_ranges: Vec<Ipv4Net> =
        ranges.filter_map(|range| range.trim().parse::<Ipv4Net>().ok()).map(|net| net.trunc()).collect();
    external_ips.sort_unstable();
    external_ips.dedup();
    let seconds = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP"))
        .then(|| u32::try_from(seconds.unwrap_or(DEFAULT_AFFINITY)).unwrap_or(0));
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let build = |port: &ApiPort| {
        Some(ServicePort {
            service: format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default()),
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::parse(port.protocol.as_deref())?,
            port: u16::try_from(port.port).ok()?,
            node_port: port
                .node_port
                .and_then(|number| u16::try_from(number).ok())
                .filter(|number| *number != 0),
            cluster_ip,
            external_ips: external_ips.clone(),
            balancer_ips: balancer_ips.clone(),
            source_ranges: source_ranges.clone(),
            affinity,
            internal_local: local(&spec.internal_traffic_policy),
            external_local: local(&spec.external_traffic_policy),
        })
    };
    spec.ports.iter().flatten().filter_map(build).collect()
}

/// The port at which load balancers ask whether this node has endpoints of the Service, if it has one.
pub fn health_check_port(service: &Service) -> Option<u16> {
    let spec = service.spec.as_ref()?;
    let asked = spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local");
    spec.health_check_node_port
        .filter(|_| asked)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

/// How many ready endpoints a Service has on the node.
pub fn ready_on<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>, node: &str) -> usize {
    let all = slices.into_iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = all.filter(|endpoint| {
        endpoint.node_name.as_deref() == Some(node)
            && endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
    });
    // A pod of several ports may be in several slices.
    ready.filter_map(|endpoint| endpoint.addresses.first()).collect::<BTreeSet<_>>().len()
}

#[derive(Clone, Copy, Default)]
struct Condition {
    ready: bool,
    serving: bool,
    terminating: bool,
}

/// A port and its endpoints, from the slices of its Service; `node` is this node's name.
pub fn backend<'a>(
    port: ServicePort,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &str,
) -> Backend {
    // While a pod moves between slices it may be in two; the better condition counts.
    let mut found: BTreeMap<Endpoint, Condition> = BTreeMap::new();
    for slice in slices.into_iter().filter(|slice| slice.address_type == "IPv4") {
        let same = |p: &&k8s_openapi::api::discovery::v1::EndpointPort| {
            p.name.as_deref().unwrap_or_default() == port.name
                && Protocol::parse(p.protocol.as_deref()) == Some(port.protocol)
        };
        let numbers = slice.ports.iter().flatten().filter(same).filter_map(|p| u16::try_from(p.port?).ok());
        for number in numbers {
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(address) = endpoint.addresses.first().and_then(|a| a.parse().ok()) else { continue };
                let conditions = endpoint.conditions.clone().unwrap_or_default();
                let ready = conditions.ready.unwrap_or(true);
                let local = endpoint.node_name.as_deref() == Some(node);
                let entry = found.entry(Endpoint { address, port: number, local }).or_default();
                entry.ready |= ready;
                entry.serving |= conditions.serving.unwrap_or(ready);
                entry.terminating |= conditions.terminating.unwrap_or(false);
            }
        }
    }
    let those = |good: fn(&Condition) -> bool| -> Vec<Endpoint> {
        found.iter().filter(|(_, condition)| good(condition)).map(|(endpoint, _)| endpoint.clone()).collect()
    };
    let (ready, ending) = (those(|c| c.ready), those(|c| c.serving && c.terminating));
    let here = |list: &[Endpoint]| -> Vec<Endpoint> { list.iter().filter(|e| e.local).cloned().collect() };
    let local = if here(&ready).is_empty() { here(&ending) } else { here(&ready) };
    let endpoints = if ready.is_empty() { ending } else { ready };
    Backend { port, endpoints, local, serving: those(|c| c.ready || c.serving) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::json;

    fn service(spec: serde_json::Value) -> Service {
        let object = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "n", "name": "s"}, "spec": spec});
        Service::from_json(object.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn headless_and_external_services_are_not_proxied() {
        assert!(ports(&service(json!({"clusterIP": "None", "ports": [{"port": 80}]}))).is_empty());
        let external = json!({"type": "ExternalName", "externalName": "x", "clusterIP": "10.96.0.9", "ports": [{"port": 80}]});
        assert!(ports(&service(external)).is_empty());
    }

    #[test]
    fn terminating_endpoints_serve_when_none_is_ready() {
        let spec = json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80, "protocol": "TCP"}]});
        let port = ports(&service(spec)).remove(0);
        let slice = |ready: bool| {
            let object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "x"}, "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "a", "conditions": {"ready": ready}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"], "nodeName": "b",
                    "conditions": {"ready": false, "serving": true, "terminating": true}},
            ]});
            EndpointSlice::from_json(object.to_string().as_bytes()).unwrap()
        };
        let at = |address: [u8; 4], local| Endpoint { address: address.into(), port: 8080, local };
        let local = |ready| backend(port.clone(), [&slice(ready)], "b").local;
        assert_eq!(local(true), [at([10, 0, 0, 4], true)], "this node's own serve what must stay here");
        let (first, second) = (at([10, 0, 0, 1], true), at([10, 0, 0, 2], false));
        let one = backend(port.clone(), [&slice(true)], "a");
        let third = at([10, 0, 0, 4], false);
        let all = vec![first.clone(), second.clone(), third.clone()];
        assert_eq!((one.endpoints, one.serving), (vec![first], all));
        let none = backend(port.clone(), [&slice(false)], "a");
        assert_eq!(
            (none.endpoints, none.serving),
            (vec![second.clone(), third.clone()], vec![second, third])
        );
        assert_eq!((ready_on([&slice(true)], "a"), ready_on([&slice(false)], "a")), (1, 0));
    }
}
