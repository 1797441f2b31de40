//! A pod's DNS configuration (`resolv.conf`) from its policy. Pure.
//!
//! Rule: "DNS for Services and Pods", pod's DNS policy and DNS config.

use api::k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

/// Servers, search domains and options of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    /// Name servers, at most three.
    pub(crate) servers: Vec<String>,
    /// Search domains, at most 32.
    pub(crate) searches: Vec<String>,
    /// Options such as `ndots:5`.
    pub(crate) options: Vec<String>,
}

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// Reads a `resolv.conf`.
pub(crate) fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns.searches.retain(|s| s != ".");
    dns
}

fn push_new(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// A pod's own settings come on top; an option of the same name replaces.
fn merge(dns: &mut Dns, config: &PodDNSConfig) {
    for server in config.nameservers.iter().flatten() {
        push_new(&mut dns.servers, server.clone());
    }
    for search in config.searches.iter().flatten() {
        push_new(&mut dns.searches, search.clone());
    }
    for option in config.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        dns.options.retain(|o| o.split(':').next() != Some(name));
        dns.options.push(match &option.value {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.clone(),
        });
    }
}

/// The DNS configuration of `pod`: `host` is the node's, `cluster_dns` and `domain` the cluster's.
pub(crate) fn for_pod(pod: &Pod, host: &Dns, cluster_dns: &[String], domain: &str) -> Dns {
    let spec = crate::spec::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !crate::spec::host_network(pod),
        _ => false,
    };
    let mut dns = if policy == "None" {
        Dns::default()
    } else if cluster && !cluster_dns.is_empty() {
        let namespace = crate::spec::namespace(pod);
        let mut searches = Vec::new();
        if !domain.is_empty() {
            searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        }
        for search in &host.searches {
            push_new(&mut searches, search.clone());
        }
        let mut options = vec!["ndots:5".to_owned()];
        for option in host.options.iter().filter(|o| !o.starts_with("ndots")) {
            push_new(&mut options, option.clone());
        }
        Dns { servers: cluster_dns.to_vec(), searches, options }
    } else {
        host.clone()
    };
    if let Some(config) = &spec.dns_config {
        merge(&mut dns, config);
    }
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    dns
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::{PodDNSConfigOption, PodSpec};

    fn pod(policy: &str, host_network: bool, config: Option<PodDNSConfig>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("ns".to_owned());
        pod.spec = Some(PodSpec {
            dns_policy: Some(policy.to_owned()),
            host_network: Some(host_network),
            dns_config: config,
            ..PodSpec::default()
        });
        pod
    }

    fn text(dns: &Dns) -> String {
        format!("{} | {} | {}", dns.servers.join(" "), dns.searches.join(" "), dns.options.join(" "))
    }

    #[test]
    fn follows_the_policy() {
        let host = parse("# c\nnameserver 9.9.9.9\nsearch corp .\noptions timeout:2 ndots:1\n");
        let config = PodDNSConfig {
            nameservers: Some(vec!["1.1.1.1".to_owned()]),
            searches: Some(vec!["extra".to_owned()]),
            options: Some(vec![
                PodDNSConfigOption { name: Some("ndots".to_owned()), value: Some("2".to_owned()) },
                PodDNSConfigOption { name: Some("edns0".to_owned()), value: None },
            ]),
        };
        let cluster = ["10.96.0.10".to_owned()];
        let full = "10.96.0.10 | ns.svc.c.local svc.c.local c.local corp | ndots:5 timeout:2";
        for (policy, host_network, config, want) in [
            ("ClusterFirst", false, None, full),
            ("ClusterFirst", true, None, "9.9.9.9 | corp | timeout:2 ndots:1"),
            ("ClusterFirstWithHostNet", true, None, full),
            ("Default", false, None, "9.9.9.9 | corp | timeout:2 ndots:1"),
            ("None", false, Some(config.clone()), "1.1.1.1 | extra | ndots:2 edns0"),
            (
                "ClusterFirst",
                false,
                Some(config),
                "10.96.0.10 1.1.1.1 | ns.svc.c.local svc.c.local c.local corp extra | timeout:2 ndots:2 edns0",
            ),
        ] {
            let dns = for_pod(&pod(policy, host_network, config), &host, &cluster, "c.local");
            assert_eq!(text(&dns), want, "{policy}");
        }
    }
}
