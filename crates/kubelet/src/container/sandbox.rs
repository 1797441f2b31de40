//! What the runtime is asked to make for a pod's sandbox. Pure.

use crate::container::resolv::Dns;
use crate::container::{resources, security};
use crate::model::labels;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use cri::v1;
use std::collections::HashMap;

/// What the node adds.
pub(crate) struct Inputs<'a> {
    /// The pod.
    pub(crate) pod: &'a Pod,
    /// Attempt, from 0.
    pub(crate) attempt: u32,
    /// Its host name.
    pub(crate) hostname: String,
    /// Its DNS.
    pub(crate) dns: Dns,
    /// Directory of its logs.
    pub(crate) log_directory: String,
    /// Parent of its cgroups, empty when the runtime is to choose.
    pub(crate) cgroup_parent: String,
    /// Defaults of security.
    pub(crate) security: security::Defaults<'a>,
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    if spec::host_network(pod) {
        return Vec::new();
    }
    let mut mappings: Vec<v1::PortMapping> = Vec::new();
    for (_, container) in spec::all(pod) {
        for port in container.ports.iter().flatten() {
            let Some(host_port) = port.host_port.filter(|p| *p > 0) else { continue };
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            };
            let mapping = v1::PortMapping {
                protocol: protocol as i32,
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            };
            if !mappings.contains(&mapping) {
                mappings.push(mapping);
            }
        }
    }
    mappings
}

/// Labels by which a pod's sandbox is found again, on top of the pod's own.
fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut all: HashMap<String, String> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    all.insert(labels::POD_NAME.to_owned(), spec::name(pod).to_owned());
    all.insert(labels::POD_NAMESPACE.to_owned(), spec::namespace(pod).to_owned());
    all.insert(labels::POD_UID.to_owned(), spec::uid(pod).to_owned());
    all
}

/// Builds the sandbox's configuration.
pub(crate) fn config(inputs: &Inputs<'_>) -> v1::PodSandboxConfig {
    let pod = inputs.pod;
    let s = spec::spec(pod);
    let sysctls = s.security_context.as_ref().and_then(|c| c.sysctls.as_deref()).unwrap_or_default();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: spec::name(pod).to_owned(),
            uid: spec::uid(pod).to_owned(),
            namespace: spec::namespace(pod).to_owned(),
            attempt: inputs.attempt,
        }),
        hostname: if spec::host_network(pod) { String::new() } else { inputs.hostname.clone() },
        log_directory: inputs.log_directory.clone(),
        dns_config: Some(v1::DnsConfig {
            servers: inputs.dns.servers.clone(),
            searches: inputs.dns.searches.clone(),
            options: inputs.dns.options.clone(),
        }),
        port_mappings: port_mappings(pod),
        labels: sandbox_labels(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: inputs.cgroup_parent.clone(),
            security_context: Some(security::sandbox(pod, &inputs.security)),
            sysctls: sysctls.iter().map(|s| (s.name.clone(), s.value.clone())).collect(),
            overhead: None,
            resources: Some(resources::pod_resources(pod)),
        }),
    }
}
