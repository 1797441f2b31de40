//! What the tests of the whole share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use testkit::cluster::{Cluster, unsupported};
use testkit::net;

/// The binary under test: the one built with the tests, or what `WINDLASS` names, such as a release build.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_windlass"));
    PROGRAM.get_or_init(|| std::env::var_os("WINDLASS").map_or_else(built, PathBuf::from))
}

/// Whether clusters can run here; says so when not.
pub(crate) fn usable(test: &str) -> bool {
    if let Some(why) = unsupported() {
        println!("skipped {test}: {why}");
        return false;
    }
    true
}

/// A Deployment of the built-in page, with a readiness probe.
pub(crate) fn deployment(name: &str, replicas: u32, pod: &str) -> String {
    let image = format!("windlass.local/windlass:{}", env!("CARGO_PKG_VERSION"));
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}"}},"spec":{{"replicas":{replicas},
        "selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},
        "spec":{{{pod}"terminationGracePeriodSeconds":1,"containers":[{{"name":"hello","image":"{image}","args":["hello"],
        "ports":[{{"name":"http","containerPort":8080}}],
        "readinessProbe":{{"httpGet":{{"path":"/","port":"http"}},"periodSeconds":1}}}}]}}}}}}}}"#
    )
}

/// The same as a DaemonSet.
pub(crate) fn daemon_set(name: &str) -> String {
    deployment(name, 0, "").replace("\"Deployment\"", "\"DaemonSet\"").replace("\"replicas\":0,", "")
}

/// A Service of type NodePort for it.
pub(crate) fn service(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{"type":"NodePort",
        "selector":{{"app":"{name}"}},"ports":[{{"port":80,"targetPort":"http"}}]}}}}"#
    )
}

/// Runs kubectl with words separated by spaces; panics with what it says when it fails.
pub(crate) fn kubectl(cluster: &Cluster, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    cluster.kubectl(&words).unwrap_or_else(|error| panic!("kubectl {line}: {error:#}"))
}

/// Like [`kubectl`], split into words.
pub(crate) fn words(cluster: &Cluster, line: &str) -> Vec<String> {
    kubectl(cluster, line).split_whitespace().map(str::to_owned).collect()
}

/// GETs a page from inside a node's network namespace.
pub(crate) fn get_from(cluster: &Cluster, node: &str, host: &str, port: u16) -> String {
    let address = SocketAddr::new(host.parse().unwrap(), port);
    let netns = cluster.dir().join("netns").join(node);
    linux::namespace::inside_network(&netns, || Ok(net::http_get(address)))
        .unwrap()
        .unwrap_or_else(|error| panic!("{address} from {node}: {error:#}"))
}

/// Asks cluster DNS from inside a node's network namespace.
pub(crate) fn resolve_from(cluster: &Cluster, node: &str, name: &str) -> Vec<Ipv4Addr> {
    let netns = cluster.dir().join("netns").join(node);
    linux::namespace::inside_network(&netns, || Ok(net::resolve(Ipv4Addr::new(10, 96, 0, 10), name)))
        .unwrap()
        .unwrap_or_else(|error| panic!("{name} from {node}: {error:#}"))
}
