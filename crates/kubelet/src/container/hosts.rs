//! Host names and the `/etc/hosts` file of a pod. Pure.

use crate::spec;
use api::k8s_openapi::api::core::v1::{HostAlias, Pod};
use std::fmt::Write;

/// Longest host name that Linux takes.
const MAX_HOSTNAME: usize = 63;

/// Host name and domain (empty without a subdomain) of a pod. `node` is the host's name.
pub(crate) fn hostname_and_domain(pod: &Pod, domain: &str, node: &str) -> (String, String) {
    let s = spec::spec(pod);
    if let Some(name) = s.hostname_override.as_deref().filter(|n| !n.is_empty()) {
        return (name.to_owned(), String::new());
    }
    if spec::host_network(pod) {
        return (node.to_owned(), String::new());
    }
    let name = s.hostname.as_deref().filter(|n| !n.is_empty()).unwrap_or_else(|| spec::name(pod));
    let mut name: String = name.chars().take(MAX_HOSTNAME).collect();
    name.truncate(name.trim_end_matches(['-', '.']).len());
    let sub = match s.subdomain.as_deref().filter(|n| !n.is_empty()) {
        Some(sub) => format!("{sub}.{}.svc.{domain}", spec::namespace(pod)),
        None => String::new(),
    };
    if s.set_hostname_as_fqdn == Some(true) && !sub.is_empty() {
        return (format!("{name}.{sub}"), sub);
    }
    (name, sub)
}

fn aliases(out: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    out.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _ = writeln!(out, "{}\t{names}", alias.ip);
    }
}

/// The file for a pod with its own network.
pub(crate) fn managed(ips: &[String], hostname: &str, domain: &str, extra: &[HostAlias]) -> String {
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        let short = hostname.split('.').next().unwrap_or(hostname);
        let _ = match domain {
            "" => writeln!(out, "{ip}\t{hostname}"),
            domain => writeln!(out, "{ip}\t{short}.{domain}\t{short}"),
        };
    }
    aliases(&mut out, extra);
    out
}

/// The file for a pod on the host's network: the node's own plus aliases.
pub(crate) fn host_network(node_file: &str, extra: &[HostAlias]) -> String {
    let mut out = format!("# Kubernetes-managed hosts file (host network).\n{node_file}");
    aliases(&mut out, extra);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_stand_in_the_file() {
        let alias =
            HostAlias { ip: "1.2.3.4".to_owned(), hostnames: Some(vec!["a".to_owned(), "b".to_owned()]) };
        let file = managed(&["10.0.0.5".to_owned()], "web-0", "web.ns.svc.cluster.local", &[alias]);
        assert!(file.contains("10.0.0.5\tweb-0.web.ns.svc.cluster.local\tweb-0\n"), "{file}");
        assert!(file.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{file}");
        assert!(managed(&["10.0.0.5".to_owned()], "p", "", &[]).ends_with("10.0.0.5\tp\n"));
    }

    #[test]
    fn hostname_comes_from_the_specification() {
        let mut pod = Pod::default();
        pod.metadata.name = Some(format!("{}-{}", "x".repeat(62), "y"));
        pod.metadata.namespace = Some("ns".to_owned());
        assert_eq!(hostname_and_domain(&pod, "c", "node").0, "x".repeat(62));
        let s = pod.spec.get_or_insert_default();
        s.hostname = Some("h".to_owned());
        s.subdomain = Some("sub".to_owned());
        assert_eq!(hostname_and_domain(&pod, "c", "node"), ("h".to_owned(), "sub.ns.svc.c".to_owned()));
    }
}
