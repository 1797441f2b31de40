//! The zone: from a question to records. Pure; reads a [`Cluster`].
//!
//! Source: Kubernetes DNS-Based Service Discovery, schema version 1.1.0. Pod names (`1-2-3-4.ns.pod.zone`) are
//! answered for every address in an existing namespace, as kubeadm's clusters do.

use crate::cluster::{Cluster, cluster_ips, owner};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How long answers may be kept, in seconds.
const TTL: u32 = 30;
/// How long the lack of an answer may be kept, in seconds.
const NEGATIVE_TTL: u32 = 5;
/// More records than this are of no use to any client and only make answers large.
const MAX_RECORDS: usize = 1000;

/// What the zone says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These records.
    Records(Vec<Record>),
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// An alias to a name that this zone does not have: ask others for the rest.
    Alias(Box<Record>, Name),
    /// The name is none of this zone's.
    NotMine,
}

/// The zone of a cluster.
pub struct Zone {
    origin: Name,
    cluster: Arc<dyn Cluster>,
}

/// An address of a headless Service, with the name that it has below the Service.
struct Member {
    label: String,
    address: IpAddr,
}

impl Zone {
    /// The zone `origin`, such as `cluster.local.`.
    pub fn new(origin: Name, cluster: Arc<dyn Cluster>) -> Self {
        Self { origin: origin.to_lowercase(), cluster }
    }

    /// The zone's start of authority, for negative answers.
    pub fn authority(&self) -> Record {
        let server = Name::from_ascii("ns.dns").and_then(|n| n.append_domain(&self.origin));
        let mailbox = Name::from_ascii("hostmaster").and_then(|n| n.append_domain(&self.origin));
        let or_origin =
            |name: Result<Name, _>| name.unwrap_or_else(|_: hickory_proto::ProtoError| self.origin.clone());
        let soa = SOA::new(or_origin(server), or_origin(mailbox), 1, 7200, 1800, 86400, NEGATIVE_TTL);
        Record::from_rdata(self.origin.clone(), NEGATIVE_TTL, RData::SOA(soa))
    }

    /// Answers a question.
    pub fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let name = name.to_lowercase();
        if let Ok(net) = name.parse_arpa_name() {
            return self.reverse(&name, net.addr(), kind);
        }
        if !self.origin.zone_of(&name) {
            return Answer::NotMine;
        }
        let below = usize::from(name.num_labels()).saturating_sub(usize::from(self.origin.num_labels()));
        let labels: Vec<String> =
            name.iter().take(below).map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] if kind == RecordType::SOA => Answer::Records(vec![self.authority()]),
            [] | ["svc" | "pod"] => Answer::NoData,
            ["dns-version"] => only(kind, RecordType::TXT, || {
                vec![record(&name, RData::TXT(TXT::new(vec!["1.1.0".to_owned()])))]
            }),
            [namespace, "svc" | "pod"] => self.namespace(namespace),
            [dashed, namespace, "pod"] => self.pod(&name, dashed, namespace, kind),
            [service, namespace, "svc"] => self.service(&name, namespace, service, kind),
            [member, service, namespace, "svc"] => self.member(&name, namespace, service, member, kind),
            [port, protocol, service, namespace, "svc"] => {
                self.port(&name, namespace, service, (port, protocol), kind)
            }
            _ => Answer::NoName,
        }
    }

    fn namespace(&self, name: &str) -> Answer {
        if self.cluster.has_namespace(name) { Answer::NoData } else { Answer::NoName }
    }

    fn pod(&self, name: &Name, dashed: &str, namespace: &str, kind: RecordType) -> Answer {
        let four: Option<Ipv4Addr> = dashed.replace('-', ".").parse().ok();
        let six: Option<Ipv6Addr> = dashed.replace('-', ":").parse().ok();
        let address = four.map(IpAddr::V4).or(six.map(IpAddr::V6));
        match address {
            Some(address) if self.cluster.has_namespace(namespace) => addresses(name, [address], kind),
            _ => Answer::NoName,
        }
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> Answer {
        let Some(found) = self.cluster.service(namespace, service) else { return Answer::NoName };
        if let Some(target) = external_name(&found) {
            return self.alias(name, target, kind);
        }
        let own = cluster_ips(&found);
        if !own.is_empty() {
            return addresses(name, own, kind);
        }
        let members = self.members(&found, namespace, service);
        if members.is_empty() {
            return Answer::NoName;
        }
        addresses(name, members.into_iter().map(|member| member.address), kind)
    }

    fn alias(&self, name: &Name, target: &str, kind: RecordType) -> Answer {
        let Ok(mut target) = Name::from_ascii(target) else { return Answer::NoName };
        target.set_fqdn(true);
        let alias = record(name, RData::CNAME(CNAME(target.clone())));
        if kind == RecordType::CNAME {
            return Answer::Records(vec![alias]);
        }
        // One step only: an alias to an alias of this zone would let two Services send us in circles.
        match self.origin.zone_of(&target.to_lowercase()).then(|| self.direct(&target, kind)) {
            Some(Answer::Records(rest)) => Answer::Records(std::iter::once(alias).chain(rest).collect()),
            Some(_) => Answer::Records(vec![alias]),
            None => Answer::Alias(Box::new(alias), target),
        }
    }

    fn direct(&self, name: &Name, kind: RecordType) -> Answer {
        let labels: Vec<String> =
            name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        if let [service, namespace, ..] = labels.as_slice()
            && self.cluster.service(namespace, service).is_some_and(|found| external_name(&found).is_some())
        {
            return Answer::NoData;
        }
        self.lookup(name, kind)
    }

    /// A name below a Service: one member of a headless Service.
    fn member(&self, name: &Name, namespace: &str, service: &str, member: &str, kind: RecordType) -> Answer {
        let Some(found) = self.cluster.service(namespace, service) else { return Answer::NoName };
        if let Some(protocol) = member.strip_prefix('_') {
            // `_tcp.service`: an inner node of the tree, without records of its own.
            let known = matches!(protocol, "tcp" | "udp" | "sctp");
            return if known { Answer::NoData } else { Answer::NoName };
        }
        let members = self.members(&found, namespace, service);
        let mut named = members.into_iter().filter(|m| m.label == member).map(|m| m.address).peekable();
        if named.peek().is_none() {
            return Answer::NoName;
        }
        addresses(name, named, kind)
    }

    fn port(
        &self,
        name: &Name,
        namespace: &str,
        service: &str,
        wanted: (&str, &str),
        kind: RecordType,
    ) -> Answer {
        let (Some(port), Some(protocol)) = (wanted.0.strip_prefix('_'), wanted.1.strip_prefix('_')) else {
            return Answer::NoName;
        };
        let Some(found) = self.cluster.service(namespace, service) else { return Answer::NoName };
        let same = |n: Option<&str>, p: Option<&str>| {
            n == Some(port) && p.unwrap_or("TCP").eq_ignore_ascii_case(protocol)
        };
        let base = self.child(&[service, namespace, "svc"]);
        let mut records = Vec::new();
        if cluster_ips(&found).is_empty() {
            for slice in self.cluster.slices(namespace, service) {
                let ports =
                    slice.ports.iter().flatten().filter(|p| same(p.name.as_deref(), p.protocol.as_deref()));
                for number in ports.filter_map(|p| p.port).filter_map(|n| u16::try_from(n).ok()) {
                    for member in members_of(&found, &slice) {
                        let target =
                            Name::from_ascii(&member.label).and_then(|label| label.append_domain(&base));
                        records.extend(target.ok().map(|target| srv(name, number, target)));
                    }
                }
            }
        } else {
            let ports = found.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            let ports = ports.filter(|p| same(p.name.as_deref(), p.protocol.as_deref()));
            records
                .extend(ports.filter_map(|p| u16::try_from(p.port).ok()).map(|n| srv(name, n, base.clone())));
        }
        records.truncate(MAX_RECORDS);
        if records.is_empty() { Answer::NoName } else { only(kind, RecordType::SRV, || records) }
    }

    fn members(&self, found: &Service, namespace: &str, service: &str) -> Vec<Member> {
        let slices = self.cluster.slices(namespace, service);
        let mut members: Vec<Member> = slices.iter().flat_map(|slice| members_of(found, slice)).collect();
        members.sort_by(|a, b| (a.address, &a.label).cmp(&(b.address, &b.label)));
        members.dedup_by(|a, b| a.address == b.address && a.label == b.label);
        members.truncate(MAX_RECORDS);
        members
    }

    fn reverse(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        let mut targets: Vec<Name> = Vec::new();
        for service in self.cluster.services_at(address) {
            if let (Some(namespace), Some(service)) = (&service.metadata.namespace, &service.metadata.name) {
                targets.push(self.child(&[service, namespace, "svc"]));
            }
        }
        for slice in self.cluster.slices_at(address) {
            let Some((namespace, service)) = owner(&slice) else { continue };
            let Some(found) = self.cluster.service(namespace, service) else { continue };
            let base = self.child(&[service, namespace, "svc"]);
            // Only members with a name of their own have a name to point back to.
            let named = slice.endpoints.iter().flatten().filter(|endpoint| endpoint.hostname.is_some());
            for endpoint in named.filter(|endpoint| serves(&found, endpoint)) {
                if endpoint.addresses.iter().any(|a| a.parse() == Ok(address)) {
                    let label = Name::from_ascii(label_of(endpoint, address));
                    targets.extend(label.and_then(|label| label.append_domain(&base)));
                }
            }
        }
        targets.sort();
        targets.dedup();
        if targets.is_empty() {
            return Answer::NotMine;
        }
        only(kind, RecordType::PTR, || {
            targets.into_iter().map(|t| record(name, RData::PTR(PTR(t)))).collect()
        })
    }

    fn child(&self, labels: &[&str]) -> Name {
        let name = Name::from_labels(labels.iter().map(|label| label.as_bytes()));
        name.and_then(|name| name.append_domain(&self.origin)).unwrap_or_else(|_| self.origin.clone())
    }
}

fn external_name(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() != Some("ExternalName") {
        return None;
    }
    spec.external_name.as_deref()
}

/// Whether an endpoint is to be found: it is ready, or the Service asks for all.
fn serves(service: &Service, endpoint: &Endpoint) -> bool {
    let all = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    all || endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn label_of(endpoint: &Endpoint, address: IpAddr) -> String {
    endpoint.hostname.clone().unwrap_or_else(|| address.to_string().replace(['.', ':'], "-"))
}

fn members_of(service: &Service, slice: &EndpointSlice) -> Vec<Member> {
    if slice.address_type == "FQDN" {
        return Vec::new();
    }
    let endpoints = slice.endpoints.iter().flatten().filter(|endpoint| serves(service, endpoint));
    endpoints
        .flat_map(|endpoint| {
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            addresses.map(|address| Member { label: label_of(endpoint, address), address })
        })
        .collect()
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

fn srv(name: &Name, port: u16, target: Name) -> Record {
    record(name, RData::SRV(SRV::new(0, 100, port, target)))
}

fn only(asked: RecordType, have: RecordType, records: impl FnOnce() -> Vec<Record>) -> Answer {
    if asked == have || asked == RecordType::ANY { Answer::Records(records()) } else { Answer::NoData }
}

fn addresses(name: &Name, all: impl IntoIterator<Item = IpAddr>, kind: RecordType) -> Answer {
    let wants = |family| kind == family || kind == RecordType::ANY;
    let records: Vec<Record> = all
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if wants(RecordType::A) => Some(record(name, RData::A(A(address)))),
            IpAddr::V6(address) if wants(RecordType::AAAA) => Some(record(name, RData::AAAA(AAAA(address)))),
            _ => None,
        })
        .collect();
    if records.is_empty() { Answer::NoData } else { Answer::Records(records) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use serde_json::json;
    use std::str::FromStr;

    struct Fixed {
        services: Vec<Arc<Service>>,
        slices: Vec<Arc<EndpointSlice>>,
    }

    impl Cluster for Fixed {
        fn has_namespace(&self, name: &str) -> bool {
            name == "shop"
        }
        fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
            let is = |s: &&Arc<Service>| {
                s.metadata.namespace.as_deref() == Some(namespace) && s.metadata.name.as_deref() == Some(name)
            };
            self.services.iter().find(is).cloned()
        }
        fn slices(&self, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>> {
            self.slices.iter().filter(|slice| owner(slice) == Some((namespace, name))).cloned().collect()
        }
        fn services_at(&self, address: IpAddr) -> Vec<Arc<Service>> {
            self.services.iter().filter(|service| cluster_ips(service).contains(&address)).cloned().collect()
        }
        fn slices_at(&self, address: IpAddr) -> Vec<Arc<EndpointSlice>> {
            let lists = |slice: &&Arc<EndpointSlice>| {
                let endpoints = slice.endpoints.iter().flatten();
                endpoints.into_iter().any(|e| e.addresses.iter().any(|a| a.parse() == Ok(address)))
            };
            self.slices.iter().filter(lists).cloned().collect()
        }
    }

    fn service(name: &str, spec: serde_json::Value) -> Arc<Service> {
        let object = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "shop", "name": name}, "spec": spec});
        Arc::new(Service::from_json(object.to_string().as_bytes()).unwrap())
    }

    fn zone() -> Zone {
        let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "shop", "name": "db-1", "labels": {SERVICE_LABEL: "db"}},
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": true}},
            {"addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": {"ready": false}},
        ]});
        let slice = EndpointSlice::from_json(slice.to_string().as_bytes()).unwrap();
        let services = vec![
            service("web", json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": ports})),
            service("db", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
            service("out", json!({"type": "ExternalName", "externalName": "example.com"})),
            service("in", json!({"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"})),
            service("loop", json!({"type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"})),
        ];
        let cluster = Fixed { services, slices: vec![Arc::new(slice)] };
        Zone::new(Name::from_str("cluster.local.").unwrap(), Arc::new(cluster))
    }

    const SERVICE_LABEL: &str = "kubernetes.io/service-name";

    /// The answer as text: data of records, or what else it is.
    fn ask(name: &str, kind: RecordType) -> String {
        let data =
            |records: &[Record]| records.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(" | ");
        match zone().lookup(&Name::from_str(name).unwrap(), kind) {
            Answer::Records(records) => data(&records),
            Answer::Alias(record, _) => format!("{} ...", data(&[*record])),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn answers_follow_the_specification() {
        use RecordType as T;
        let rows = [
            ("web.shop.svc.cluster.local.", T::A, "10.96.0.20"),
            ("WEB.Shop.svc.CLUSTER.local.", T::A, "10.96.0.20"),
            ("web.shop.svc.cluster.local.", T::AAAA, "NoData"),
            ("nope.shop.svc.cluster.local.", T::A, "NoName"),
            ("shop.svc.cluster.local.", T::A, "NoData"),
            ("nope.svc.cluster.local.", T::A, "NoName"),
            ("db.shop.svc.cluster.local.", T::A, "10.244.0.5 | 10.244.0.6"),
            ("db-0.db.shop.svc.cluster.local.", T::A, "10.244.0.5"),
            ("10-244-0-6.db.shop.svc.cluster.local.", T::A, "10.244.0.6"),
            ("db-2.db.shop.svc.cluster.local.", T::A, "NoName"),
            ("_http._tcp.web.shop.svc.cluster.local.", T::SRV, "0 100 80 web.shop.svc.cluster.local."),
            ("_http._udp.web.shop.svc.cluster.local.", T::SRV, "NoName"),
            ("_dns._udp.web.shop.svc.cluster.local.", T::A, "NoData"),
            ("out.shop.svc.cluster.local.", T::A, "example.com. ..."),
            ("out.shop.svc.cluster.local.", T::CNAME, "example.com."),
            ("in.shop.svc.cluster.local.", T::A, "web.shop.svc.cluster.local. | 10.96.0.20"),
            ("loop.shop.svc.cluster.local.", T::A, "loop.shop.svc.cluster.local."),
            ("10-1-2-3.shop.pod.cluster.local.", T::A, "10.1.2.3"),
            ("10-1-2-3.nope.pod.cluster.local.", T::A, "NoName"),
            ("20.0.96.10.in-addr.arpa.", T::PTR, "web.shop.svc.cluster.local."),
            ("5.0.244.10.in-addr.arpa.", T::PTR, "db-0.db.shop.svc.cluster.local."),
            ("6.0.244.10.in-addr.arpa.", T::PTR, "NotMine"),
            ("dns-version.cluster.local.", T::TXT, "1.1.0"),
            ("example.org.", T::A, "NotMine"),
        ];
        for (name, kind, expected) in rows {
            assert_eq!(ask(name, kind), expected, "{kind} {name}");
        }
        let targets = ask("_sql._tcp.db.shop.svc.cluster.local.", T::SRV);
        assert_eq!(
            targets,
            "0 100 5432 db-0.db.shop.svc.cluster.local. | 0 100 5432 10-244-0-6.db.shop.svc.cluster.local."
        );
    }
}
