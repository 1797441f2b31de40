//! Which slices a service needs: existing ones are changed as little as possible, because every change is sent to every
//! node.

use crate::common::endpoints::{self, Port};
use crate::common::owners::controller_reference;
use crate::common::pods;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most endpoints in a slice.
const CAPACITY: usize = 100;
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
pub(super) const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<String>,
}

/// What slices are told apart by: address type and ports.
type Group = (&'static str, Vec<Port>);

fn family(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}

/// The address types that the service serves.
fn families(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|spec| spec.ip_families.as_ref()).filter(|all| !all.is_empty());
    match named {
        Some(all) => all.iter().map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect(),
        None => vec![spec.and_then(|spec| spec.cluster_ip.as_deref()).map_or("IPv4", family)],
    }
}

fn endpoint(service: &Service, pod: &Pod, ip: &str, node: Option<&Node>) -> Endpoint {
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let ready = endpoints::publishes_not_ready(service) || (serving && !terminating);
    let zone =
        node.and_then(|node| node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").cloned());
    let name = pods::node_of(pod);
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving || endpoints::publishes_not_ready(service)),
            terminating: Some(terminating),
        }),
        hostname: endpoints::hostname(pod, service),
        node_name: (!name.is_empty()).then(|| name.to_owned()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        ..Endpoint::default()
    }
}

/// The endpoints that should be, by group.
fn desired(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let families = families(service);
    for pod in pods.iter().filter(|pod| endpoints::belongs(pod)) {
        let mut ports = endpoints::ports(service, pod);
        ports.sort();
        let node = node(pods::node_of(pod));
        for wanted in &families {
            let Some(ip) = endpoints::ips(pod).into_iter().find(|ip| family(ip) == *wanted) else { continue };
            let group = groups.entry((wanted, ports.clone())).or_default();
            group.push(endpoint(service, pod, ip, node.as_deref()));
        }
    }
    groups
}

fn group_of(slice: &EndpointSlice) -> Group {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        port: port.port.unwrap_or(0),
        protocol: port.protocol.clone().unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    (if slice.address_type == "IPv6" { "IPv6" } else { "IPv4" }, ports)
}

fn empty_slice(service: &Service, group: &Group) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut slice = EndpointSlice { address_type: group.0.to_owned(), ..EndpointSlice::default() };
    slice.metadata.generate_name = Some(format!("{name}-"));
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.owner_references = Some(vec![controller_reference(service)]);
    slice.metadata.labels = Some(labels(service));
    let ports = group.1.iter().map(|port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    });
    slice.ports = Some(ports.collect());
    slice.endpoints = Some(Vec::new());
    slice
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = endpoints::labels(service);
    labels.insert(SERVICE_LABEL.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGER_LABEL.to_owned(), MANAGER.to_owned());
    labels
}

fn held(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

fn id(endpoint: &Endpoint) -> (Option<String>, Vec<String>) {
    (endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()), endpoint.addresses.clone())
}

/// Compares what should be with what is.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Plan {
    let mut groups = desired(service, pods, node);
    // A service without endpoints keeps one empty slice per address type, so that consumers see it has none.
    for family in families(service) {
        if !groups.keys().any(|(known, _)| *known == family) {
            groups.insert((family, Vec::new()), Vec::new());
        }
    }
    let mut plan = Plan::default();
    let mut by_group: HashMap<Group, Vec<&Arc<EndpointSlice>>> = HashMap::new();
    for slice in existing.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()) {
        by_group.entry(group_of(slice)).or_default().push(slice);
    }
    for (group, endpoints) in groups {
        let slices = by_group.remove(&group).unwrap_or_default();
        plan_group(service, &group, endpoints, slices, &mut plan);
    }
    let unwanted = by_group.into_values().flatten();
    plan.delete.extend(unwanted.filter_map(|slice| slice.metadata.name.clone()));
    plan.delete.sort();
    plan
}

fn plan_group(
    service: &Service,
    group: &Group,
    wanted: Vec<Endpoint>,
    mut slices: Vec<&Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let wants_none = wanted.is_empty();
    let mut left: BTreeMap<_, _> = wanted.into_iter().map(|endpoint| (id(&endpoint), endpoint)).collect();
    // First every endpoint stays in the slice that has it, as it is now…
    let mut working: Vec<(&Arc<EndpointSlice>, EndpointSlice)> = Vec::new();
    for slice in slices {
        let mut next = EndpointSlice::clone(slice);
        let kept = held(slice).iter().filter_map(|endpoint| left.remove(&id(endpoint)));
        next.endpoints = Some(kept.collect());
        let desired = labels(service);
        if next.metadata.labels.as_ref() != Some(&desired) {
            next.metadata.labels = Some(desired);
        }
        working.push((slice, next));
    }
    // …then the new ones fill the slices that change anyway, then those with room, then new slices.
    let mut rest: Vec<Endpoint> = left.into_values().collect();
    working.sort_by_key(|(old, next)| held(old) == held(next));
    for (_, next) in &mut working {
        let room = CAPACITY.saturating_sub(held(next).len()).min(rest.len());
        next.endpoints.get_or_insert_default().extend(rest.drain(..room));
    }
    let mut kept = 0;
    for (old, next) in working {
        let placeholder = wants_none && kept == 0;
        if held(&next).is_empty() && !placeholder {
            plan.delete.extend(next.metadata.name);
            continue;
        }
        kept += 1;
        if held(old) != held(&next) || old.metadata.labels != next.metadata.labels {
            plan.update.push(next);
        }
    }
    if wants_none && kept == 0 {
        plan.create.push(empty_slice(service, group));
    }
    while !rest.is_empty() {
        let mut slice = empty_slice(service, group);
        let count = rest.len().min(CAPACITY);
        slice.endpoints = Some(rest.drain(..count).collect());
        plan.create.push(slice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::pod;
    use k8s_openapi::api::core::v1::{ContainerPort, ServicePort, ServiceSpec};
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    fn service() -> Service {
        let mut service = Service::default();
        service.metadata.name = Some("web".to_owned());
        service.metadata.namespace = Some("default".to_owned());
        service.spec = Some(ServiceSpec {
            selector: Some([("app".to_owned(), "web".to_owned())].into()),
            ports: Some(vec![ServicePort {
                port: 80,
                target_port: Some(IntOrString::String("http".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        });
        service
    }

    fn with_port(number: usize, port: i32, ready: bool) -> Arc<Pod> {
        let mut pod = Pod::clone(&pod(&format!("p{number}"), "Running", ready, 1));
        pod.status.as_mut().unwrap().pod_ip = Some(format!("10.0.{}.{}", number / 250, number % 250 + 1));
        let spec = pod.spec.as_mut().unwrap();
        spec.containers = crate::common::testing::template("web").spec.unwrap().containers;
        let named =
            ContainerPort { name: Some("http".to_owned()), container_port: port, ..ContainerPort::default() };
        spec.containers[0].ports = Some(vec![named]);
        Arc::new(pod)
    }

    /// What the API would have after a plan.
    fn apply(plan: Plan, existing: Vec<Arc<EndpointSlice>>) -> Vec<Arc<EndpointSlice>> {
        let mut all: Vec<_> = existing
            .into_iter()
            .filter(|slice| !plan.delete.contains(slice.metadata.name.as_ref().unwrap()))
            .map(|slice| {
                plan.update
                    .iter()
                    .find(|u| u.metadata.name == slice.metadata.name)
                    .map_or(slice, |u| Arc::new(u.clone()))
            })
            .collect();
        for mut slice in plan.create {
            slice.metadata.name = Some(format!("s{}", all.len()));
            all.push(Arc::new(slice));
        }
        all
    }

    #[test]
    fn slices_hold_a_hundred_and_change_little() {
        let pods: Vec<_> = (0..150).map(|n| with_port(n, 8080, true)).collect();
        let service = service();
        let first = plan(&service, &pods, &[], |_| None);
        assert_eq!(first.create.iter().map(|s| held(s).len()).collect::<Vec<_>>(), [100, 50]);
        let slices = apply(first, Vec::new());
        assert_eq!(plan(&service, &pods, &slices, |_| None), Plan::default());
        // One pod leaves and another comes: one slice changes, none is made.
        let mut changed = pods.clone();
        changed.remove(0);
        changed.push(with_port(150, 8080, false));
        let second = plan(&service, &changed, &slices, |_| None);
        assert_eq!((second.create.len(), second.update.len(), second.delete.len()), (0, 1, 0));
        let slices = apply(second, slices);
        let unready = slices.iter().flat_map(|s| held(s)).find(|e| e.addresses == ["10.0.0.151"]).unwrap();
        assert_eq!(unready.conditions.as_ref().unwrap().ready, Some(false));
        // Without pods one placeholder remains.
        let none = apply(plan(&service, &[], &slices, |_| None), slices);
        assert_eq!((none.len(), held(&none[0]).len()), (1, 0));
    }

    #[test]
    fn pods_with_other_ports_get_their_own_slices() {
        let pods = [with_port(0, 8080, true), with_port(1, 9090, true)];
        let plan = plan(&service(), &pods, &[], |_| None);
        let ports: Vec<_> = plan.create.iter().map(|s| s.ports.as_ref().unwrap()[0].port.unwrap()).collect();
        assert_eq!(ports, [8080, 9090]);
    }
}
