//! Three isolated nodes are one cluster: pods, Services, DNS, logs and exec reach from every node to every other.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use support::{daemon_set, get_from, kubectl, program, resolve_from, service, usable, words};
use testkit::cluster::Cluster;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

#[test]
fn three_nodes_are_one_cluster() {
    if !usable("three_nodes_are_one_cluster") {
        return;
    }
    let cluster = Cluster::start(program(), 3).unwrap();
    kubectl(&cluster, "wait node --all --for=condition=Ready --timeout=10s");
    assert_eq!(words(&cluster, "get nodes -o name"), NODES.map(|name| format!("node/{name}")));

    cluster.apply(&daemon_set("hello")).unwrap();
    cluster.apply(&service("hello")).unwrap();
    kubectl(&cluster, "rollout status daemonset/hello --timeout=30s");
    let on = words(
        &cluster,
        "get pods -l app=hello --sort-by=.spec.nodeName -o jsonpath={.items[*].spec.nodeName}",
    );
    assert_eq!(on, NODES);
    let names = words(&cluster, "get pods -l app=hello -o jsonpath={.items[*].metadata.name}");
    let addresses = words(&cluster, "get pods -l app=hello -o jsonpath={.items[*].status.podIP}");
    let service_address = kubectl(&cluster, "get service hello -o jsonpath={.spec.clusterIP}");
    let node_port =
        kubectl(&cluster, "get service hello -o jsonpath={.spec.ports[0].nodePort}").parse().unwrap();
    let node_addresses = words(&cluster, "get nodes -o jsonpath={.items[*].status.addresses[0].address}");

    for node in NODES {
        for (name, address) in names.iter().zip(&addresses) {
            let page = get_from(&cluster, node, address, 8080);
            assert!(page.contains(name.as_str()), "{page:?} is not of {name}");
        }
        assert!(get_from(&cluster, node, &service_address, 80).contains("hello-"));
        for address in &node_addresses {
            assert!(get_from(&cluster, node, address, node_port).contains("hello-"));
        }
        let resolved = resolve_from(&cluster, node, "hello.default.svc.cluster.local");
        assert_eq!(resolved, [service_address.parse::<std::net::Ipv4Addr>().unwrap()], "from {node}");
    }

    for name in &names {
        kubectl(&cluster, &format!("logs {name}"));
        let version = kubectl(&cluster, &format!("exec {name} -- /windlass --version"));
        assert_eq!(version.trim(), concat!("windlass ", env!("CARGO_PKG_VERSION")));
    }
    let warnings: Vec<String> =
        cluster.said().iter().filter(|line| line.contains(" WARN ")).cloned().collect();
    assert!(warnings.is_empty(), "a healthy cluster warns of nothing:\n{}", warnings.join("\n"));
}
