//! Environment variables that tell a container about Services, in the two classic forms. Pure.

use api::k8s_openapi::api::core::v1::Service;
use std::sync::Arc;

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn of_service(service: &Service, out: &mut Vec<(String, String)>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    if ip.is_empty() || ip == "None" {
        return;
    }
    let prefix = variable(service.metadata.name.as_deref().unwrap_or_default());
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    out.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
    out.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            out.push((format!("{prefix}_SERVICE_PORT_{}", variable(name)), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{}", host_port(ip, port.port));
        if index == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        out.push((link.clone(), url));
        out.push((format!("{link}_PROTO"), lower));
        out.push((format!("{link}_PORT"), port.port.to_string()));
        out.push((format!("{link}_ADDR"), ip.to_owned()));
    }
}

/// Variables for a pod in `namespace`: the API server's Service always, those of the namespace when `links`.
pub(crate) fn for_pod(services: &[Arc<Service>], namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let is = |service: &Service, ns: &str| service.metadata.namespace.as_deref() == Some(ns);
    let is_master = |s: &Service| is(s, "default") && s.metadata.name.as_deref() == Some("kubernetes");
    let in_namespace = |s: &Service| links && is(s, namespace);
    let own_kubernetes =
        services.iter().any(|s| in_namespace(s) && s.metadata.name.as_deref() == Some("kubernetes"));
    for service in services {
        // A Service called "kubernetes" in the pod's own namespace wins over the API server's.
        if in_namespace(service) || (is_master(service) && !own_kubernetes) {
            of_service(service, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

    fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
        let mut service = Service::default();
        service.metadata.name = Some(name.to_owned());
        service.metadata.namespace = Some(namespace.to_owned());
        service.spec = Some(ServiceSpec {
            cluster_ip: Some(ip.to_owned()),
            ports: Some(vec![ServicePort {
                name: Some("web-ui".into()),
                port: 80,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        });
        Arc::new(service)
    }

    #[test]
    fn tells_both_forms() {
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("ns", "my-db", "10.96.0.7"),
            service("ns", "none", "None"),
        ];
        let with = for_pod(&services, "ns", true);
        let get = |name: &str| with.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(get("KUBERNETES_SERVICE_HOST"), Some("10.96.0.1"));
        assert_eq!(get("MY_DB_SERVICE_PORT_WEB_UI"), Some("80"));
        assert_eq!(get("MY_DB_PORT_80_TCP"), Some("tcp://10.96.0.7:80"));
        assert_eq!(get("NONE_SERVICE_HOST"), None);
        let without = for_pod(&services, "ns", false);
        assert!(without.iter().all(|(name, _)| name.starts_with("KUBERNETES_")));
    }
}
