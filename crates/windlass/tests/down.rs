//! `down` removes everything that `up` made on the machine, also after `up` was killed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use support::{daemon_set, deployment, kubectl, program, usable};
use testkit::cluster::Cluster;

fn assert_gone(footprint: &testkit::footprint::Footprint) {
    let left = footprint.remains().unwrap();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[test]
fn an_isolated_cluster_leaves_nothing_behind() {
    if !usable("an_isolated_cluster_leaves_nothing_behind") {
        return;
    }
    let mut cluster = Cluster::start(program(), 2).unwrap();
    cluster.apply(&daemon_set("hello")).unwrap();
    kubectl(&cluster, "rollout status daemonset/hello --timeout=30s");
    let killed = cluster.footprint().unwrap();
    assert!(!killed.mounts.is_empty() && !killed.cgroups.is_empty(), "{killed:?}");
    // Three pods, two processes for each, `up` and an agent.
    assert!(killed.processes.len() >= 8, "{killed:?}");
    cluster.kill().unwrap();
    cluster.down(&[]).unwrap();
    assert_gone(&killed);
    // Nothing to do is fine, too.
    cluster.down(&[]).unwrap();

    // The data is still there: the same command resumes the cluster. This time it is stopped while it runs.
    cluster.up(&[]).unwrap();
    kubectl(&cluster, "rollout status daemonset/hello --timeout=30s");
    let running = cluster.footprint().unwrap();
    cluster.down(&["--purge"]).unwrap();
    cluster.wait().unwrap();
    assert_gone(&running);
    assert!(!cluster.dir().exists(), "--purge deletes the data");
}

#[test]
fn a_host_gets_its_network_back() {
    if !usable("a_host_gets_its_network_back") {
        return;
    }
    let mut cluster = Cluster::on_a_host_without_network(program()).unwrap();
    let links = |cluster: &Cluster| cluster.on_host("ip", &["-brief", "link"]).unwrap();
    let routes = |cluster: &Cluster| cluster.on_host("ip", &["route"]).unwrap();
    let before = (links(&cluster), routes(&cluster));
    cluster.up(&[]).unwrap();
    cluster.apply(&deployment("hello", 1, "")).unwrap();
    kubectl(&cluster, "rollout status deployment/hello --timeout=30s");
    let footprint = cluster.footprint().unwrap();
    assert_ne!(links(&cluster), before.0);
    cluster.kill().unwrap();
    cluster.down(&[]).unwrap();
    assert_gone(&footprint);
    assert_eq!((links(&cluster), routes(&cluster)), before);
    match cluster.on_host("nft", &["list", "tables"]) {
        Ok(tables) => assert_eq!(tables, ""),
        Err(error) => println!("skipped the look at nftables: {error:#}"),
    }
}
