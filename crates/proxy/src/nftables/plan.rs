//! From a Service's ports and endpoints to its chains and map elements. Pure.

use super::flows::{Front, Fronts};
use super::{
    FIREWALL_IPS, MARK_FOR_MASQUERADE, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINTS, NODE_PORTS, REJECT, SERVICE_IPS,
};
use crate::model::{Backend, Endpoint, Protocol, ServicePort};
use ipnet::Ipv4Net;
use linux::nft::{Expression, Register, Verdict, part};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

const A: Register = Register(0);
const B: Register = Register(1);

/// Chain names may have 127 bytes; the hash keeps shortened ones apart.
const MAX_NAME: usize = 120;

/// A rule of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// These expressions in turn.
    All(Vec<Expression>),
    /// One of these verdicts at random.
    Random(Vec<Verdict>),
}

/// Everything that belongs to one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Rules by chain.
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// Verdicts by map and key.
    pub elements: BTreeMap<(&'static str, Vec<u8>), Verdict>,
    /// Timeouts, in milliseconds, of sets that remember clients.
    pub sets: BTreeMap<String, u64>,
    /// Where flows of datagrams may lead that began earlier.
    pub datagrams: Fronts,
}

/// Names of chains are the same for every build: rules that an older one left are recognised.
fn hash(text: &str) -> String {
    Sha256::digest(text)[..4].iter().map(|byte| format!("{byte:02X}")).collect()
}

fn name(kind: &str, port: &ServicePort, endpoint: Option<&Endpoint>) -> String {
    let endpoint = endpoint.map(|e| format!("{}/{}", e.address, e.port));
    let place = format!("{}/{}/{}", port.service, port.protocol, port.name);
    let hash = hash(&format!("{kind} {place} {} {}", port.port, endpoint.as_deref().unwrap_or_default()));
    let mut name = format!("{kind}-{hash}-{place}");
    if let Some(endpoint) = endpoint {
        name = format!("{name}__{endpoint}");
    }
    name.truncate(MAX_NAME);
    name
}

fn service_key(address: Ipv4Addr, protocol: Protocol, port: u16) -> Vec<u8> {
    [part(&address.octets()), part(&[protocol.number()]), part(&port.to_be_bytes())].concat()
}

fn node_port_key(protocol: Protocol, port: u16) -> Vec<u8> {
    [part(&[protocol.number()]), part(&port.to_be_bytes())].concat()
}

fn goto(chain: &str) -> Verdict {
    Verdict::Goto(chain.to_owned())
}

fn jump(chain: &str) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.to_owned()))
}

/// `ip saddr` inside (or outside) of `net`.
fn source_in(net: Ipv4Net, inside: bool) -> Vec<Expression> {
    let network = net.network().octets().to_vec();
    let compare = if inside { Expression::Equal(A, network) } else { Expression::NotEqual(A, network) };
    vec![Expression::SourceAddress(A), Expression::Bitwise(A, net.netmask().octets(), [0; 4]), compare]
}

/// Plans one Service. `pod_cidr` is where all pods are: traffic from elsewhere to a cluster IP is masqueraded,
/// so that answers come back this way. `node` is this node's address.
pub fn plan(backends: &[Backend], pod_cidr: Ipv4Net, node: Ipv4Addr) -> Part {
    let mut planned = Part::default();
    for backend in backends {
        plan_port(backend, pod_cidr, &mut planned);
        if !backend.endpoints.is_empty() {
            plan_firewall(&backend.port, node, &mut planned);
        }
    }
    planned
}

fn plan_port(backend: &Backend, pod_cidr: Ipv4Net, out: &mut Part) {
    let Backend { port, endpoints, local, serving } = backend;
    let local: Vec<&Endpoint> = local.iter().collect();
    let all: Vec<&Endpoint> = endpoints.iter().collect();
    let internal = if port.internal_local { &local } else { &all };
    for endpoint in all.iter().chain(&local).collect::<BTreeSet<_>>() {
        endpoint_chain(port, endpoint, out);
    }
    let cluster = name("service", port, None);
    if !all.is_empty() {
        out.chains.insert(cluster.clone(), balance(port, &all));
    }
    if port.protocol == Protocol::Udp {
        out.datagrams.extend(fronts(port, serving));
    }
    let own_key = service_key(port.cluster_ip, port.protocol, port.port);
    match (internal.is_empty(), port.internal_local) {
        (true, restricted) => {
            let verdict = if restricted && !all.is_empty() { Verdict::Drop } else { goto(REJECT) };
            out.elements.insert((NO_ENDPOINTS, own_key), verdict);
        }
        (false, restricted) => {
            let chain = name("internal", port, None);
            let mut rules =
                vec![Rule::All([source_in(pod_cidr, false), vec![jump(MARK_FOR_MASQUERADE)]].concat())];
            if restricted {
                rules.extend(balance(port, &local));
            } else {
                rules.push(Rule::All(vec![Expression::Verdict(goto(&cluster))]));
            }
            out.chains.insert(chain.clone(), rules);
            out.elements.insert((SERVICE_IPS, own_key), goto(&chain));
        }
    }
    if port.node_port.is_some() || !port.external_ips.is_empty() {
        plan_external(port, &all, &local, pod_cidr, &cluster, out);
    }
}

/// Keeps out who is in none of the source ranges. Applies to load balancers' addresses only, as upstream.
fn plan_firewall(port: &ServicePort, node: Ipv4Addr, out: &mut Part) {
    if port.source_ranges.is_empty() || port.balancer_ips.is_empty() {
        return;
    }
    let pass =
        |net: Ipv4Net| Rule::All([source_in(net, true), vec![Expression::Verdict(Verdict::Return)]].concat());
    let mut rules: Vec<Rule> = port.source_ranges.iter().map(|net| pass(*net)).collect();
    if port.source_ranges.iter().any(|net| net.contains(&node)) {
        // The balancer's address may be one of this node's: what the node sends there comes from that address.
        rules.extend(port.balancer_ips.iter().map(|ip| pass(Ipv4Net::from(*ip))));
    }
    rules.push(Rule::All(vec![Expression::Verdict(Verdict::Drop)]));
    let chain = name("firewall", port, None);
    let keys = port.balancer_ips.iter().map(|ip| service_key(*ip, port.protocol, port.port));
    out.elements.extend(keys.map(|key| ((FIREWALL_IPS, key), goto(&chain))));
    out.chains.insert(chain, rules);
}

fn fronts(port: &ServicePort, endpoints: &[Endpoint]) -> Fronts {
    let ends: BTreeSet<SocketAddrV4> =
        endpoints.iter().map(|e| SocketAddrV4::new(e.address, e.port)).collect();
    let addresses = port.external_ips.iter().chain([&port.cluster_ip]);
    let by_address = addresses.map(|address| Front { address: Some(*address), port: port.port });
    let by_port = port.node_port.map(|port| Front { address: None, port });
    by_address.chain(by_port).map(|front| (front, ends.clone())).collect()
}

fn plan_external(
    port: &ServicePort,
    all: &[&Endpoint],
    local: &[&Endpoint],
    pod_cidr: Ipv4Net,
    cluster: &str,
    out: &mut Part,
) {
    let outside = port.external_ips.iter().map(|ip| service_key(*ip, port.protocol, port.port));
    let on_nodes = port.node_port.map(|number| node_port_key(port.protocol, number));
    if all.is_empty() {
        out.elements.extend(outside.map(|key| ((NO_ENDPOINTS, key), goto(REJECT))));
        out.elements.extend(on_nodes.map(|key| ((NO_ENDPOINT_NODE_PORTS, key), goto(REJECT))));
        return;
    }
    let chain = name("external", port, None);
    let mut rules = Vec::new();
    if port.external_local {
        // Pods and this node itself reach all endpoints even so; only traffic from outside is kept local.
        rules.push(Rule::All([source_in(pod_cidr, true), vec![Expression::Verdict(goto(cluster))]].concat()));
        if local.is_empty() {
            rules.push(Rule::All(vec![Expression::Verdict(Verdict::Drop)]));
        } else {
            rules.extend(balance(port, local));
        }
    } else {
        rules.push(Rule::All(vec![jump(MARK_FOR_MASQUERADE)]));
        rules.push(Rule::All(vec![Expression::Verdict(goto(cluster))]));
    }
    out.chains.insert(chain.clone(), rules);
    out.elements.extend(outside.map(|key| ((SERVICE_IPS, key), goto(&chain))));
    out.elements.extend(on_nodes.map(|key| ((NODE_PORTS, key), goto(&chain))));
}

/// Rules that lead to one of `endpoints`: the one that the client had before, if any, else a random one.
fn balance(port: &ServicePort, endpoints: &[&Endpoint]) -> Vec<Rule> {
    let mut rules = Vec::new();
    if port.affinity.is_some() {
        for endpoint in endpoints {
            rules.push(Rule::All(vec![
                Expression::SourceAddress(A),
                Expression::InSet(name("affinity", port, Some(endpoint)), A, false),
                Expression::Verdict(goto(&name("endpoint", port, Some(endpoint)))),
            ]));
        }
    }
    let all: Vec<Verdict> = endpoints.iter().map(|e| goto(&name("endpoint", port, Some(e)))).collect();
    let last = all.last().cloned();
    if all.len() > 1 {
        rules.push(Rule::Random(all));
    }
    // A packet that is in this chain while it is replaced finds the old map empty already, and must not leave here
    // untranslated.
    rules.extend(last.map(|verdict| Rule::All(vec![Expression::Verdict(verdict)])));
    rules
}

fn endpoint_chain(port: &ServicePort, endpoint: &Endpoint, out: &mut Part) {
    // A pod that reaches itself through the Service would otherwise see its own address as the client's.
    let mut rules = vec![Rule::All(
        [Expression::from(endpoint.address).to_vec(), vec![jump(MARK_FOR_MASQUERADE)]].concat(),
    )];
    if let Some(seconds) = port.affinity {
        let set = name("affinity", port, Some(endpoint));
        let timeout = u64::from(seconds) * 1000;
        rules.push(Rule::All(vec![
            Expression::SourceAddress(A),
            Expression::Remember(set.clone(), A, timeout),
        ]));
        out.sets.insert(set, timeout);
    }
    rules.push(Rule::All(vec![
        Expression::Protocol(A),
        Expression::Equal(A, vec![port.protocol.number()]),
        Expression::Load(A, endpoint.address.octets().to_vec()),
        Expression::Load(B, endpoint.port.to_be_bytes().to_vec()),
        Expression::DestinationNat(A, B),
    ]));
    out.chains.insert(name("endpoint", port, Some(endpoint)), rules);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> ServicePort {
        ServicePort {
            service: "shop/web".into(),
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
            cluster_ip: [10, 96, 0, 20].into(),
            external_ips: Vec::new(),
            balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity: None,
            internal_local: false,
            external_local: false,
        }
    }

    fn endpoint(last: u8, local: bool) -> Endpoint {
        Endpoint { address: [10, 244, 0, last].into(), port: 8080, local }
    }

    fn planned(port: ServicePort, endpoints: Vec<Endpoint>) -> Part {
        let serving = endpoints.clone();
        let local = endpoints.iter().filter(|endpoint| endpoint.local).cloned().collect();
        let node = [10, 200, 0, 1].into();
        plan(&[Backend { port, endpoints, local, serving }], "10.244.0.0/16".parse().unwrap(), node)
    }

    /// Maps that have an element, with the verdicts' chains' kinds.
    fn maps(part: &Part) -> Vec<(&'static str, String)> {
        let kind = |verdict: &Verdict| match verdict {
            Verdict::Goto(chain) => chain.split('-').next().unwrap_or_default().to_owned(),
            other => format!("{other:?}"),
        };
        part.elements.iter().map(|((map, _), verdict)| (*map, kind(verdict))).collect()
    }

    #[test]
    fn endpoints_decide_where_a_port_leads() {
        let full = planned(port(), vec![endpoint(5, true), endpoint(6, false)]);
        assert_eq!(maps(&full), [(SERVICE_IPS, "internal".into()), (NODE_PORTS, "external".into())]);
        let empty = planned(port(), Vec::new());
        assert_eq!(
            maps(&empty),
            [(NO_ENDPOINT_NODE_PORTS, "reject".into()), (NO_ENDPOINTS, "reject".into())]
        );
        assert!(empty.chains.is_empty());
    }

    #[test]
    fn local_policies_drop_what_has_no_local_endpoint() {
        let remote = planned(ServicePort { internal_local: true, ..port() }, vec![endpoint(6, false)]);
        assert!(maps(&remote).contains(&(NO_ENDPOINTS, "Drop".into())));
        let remote = planned(ServicePort { external_local: true, ..port() }, vec![endpoint(6, false)]);
        let external = remote.chains.iter().find(|(name, _)| name.starts_with("external-")).unwrap().1;
        assert!(external.contains(&Rule::All(vec![Expression::Verdict(Verdict::Drop)])), "{external:?}");
    }

    #[test]
    fn affinity_remembers_per_endpoint() {
        let part = planned(
            ServicePort { affinity: Some(60), ..port() },
            vec![endpoint(5, true), endpoint(6, false)],
        );
        assert_eq!(part.sets.values().copied().collect::<Vec<_>>(), [60_000, 60_000]);
        let service = part.chains.iter().find(|(name, _)| name.starts_with("service-")).unwrap().1;
        assert_eq!(service.len(), 4, "one rule per remembered endpoint, one random, one for what it misses");
    }

    #[test]
    fn long_names_stay_distinct_and_short() {
        let long = ServicePort { service: format!("{}/{}", "n".repeat(63), "s".repeat(63)), ..port() };
        let part = planned(long, vec![endpoint(5, true), endpoint(6, true)]);
        assert!(part.chains.keys().all(|name| name.len() <= MAX_NAME));
        assert_eq!(part.chains.len(), 5, "internal, external, service and two endpoints");
    }
}
