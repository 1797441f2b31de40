//! A node whose link is cut is given up, its pods move, and it comes back when the link does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use support::{deployment, get_from, kubectl, program, usable, words};
use testkit::cluster::Cluster;

const TOLERATIONS: &str = r#""tolerations":[
    {"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":2},
    {"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":2}],"#;

#[test]
fn pods_leave_a_node_that_is_cut_off() {
    if !usable("pods_leave_a_node_that_is_cut_off") {
        return;
    }
    let cluster = Cluster::start(program(), 2).unwrap();
    // One that moves and one that stays: it tolerates the loss of its node for the usual five minutes.
    kubectl(&cluster, "cordon node-1");
    cluster.apply(&deployment("mover", 1, TOLERATIONS)).unwrap();
    cluster.apply(&deployment("stayer", 1, "")).unwrap();
    kubectl(&cluster, "wait deployment mover stayer --for=condition=Available --timeout=30s");
    kubectl(&cluster, "uncordon node-1");
    let moved = words(&cluster, "get pods -l app=mover -o name").remove(0);
    let stays = words(&cluster, "get pods -l app=stayer -o name").remove(0);
    assert_eq!(kubectl(&cluster, &format!("get {moved} -o jsonpath={{.spec.nodeName}}")), "node-2");

    cluster.link("node-2", false).unwrap();
    kubectl(&cluster, "wait node/node-2 --for=condition=Ready=Unknown --timeout=60s");
    kubectl(&cluster, &format!("wait {moved} --for=condition=DisruptionTarget --timeout=15s"));
    kubectl(&cluster, &format!("wait {stays} --for=condition=Ready=False --timeout=15s"));
    kubectl(&cluster, "rollout status deployment/mover --timeout=15s");
    let on = words(&cluster, "get pods -l app=mover -o jsonpath={.items[*].spec.nodeName}");
    assert!(on.contains(&"node-1".to_owned()), "{on:?}");

    cluster.link("node-2", true).unwrap();
    kubectl(&cluster, "wait node/node-2 --for=condition=Ready --timeout=30s");
    // The old pod ends for good, and the one that stayed serves again.
    kubectl(&cluster, &format!("wait {moved} --for=delete --timeout=60s"));
    kubectl(&cluster, &format!("wait {stays} --for=condition=Ready --timeout=30s"));
    let restarts = format!("get {stays} -o jsonpath={{.status.containerStatuses[0].restartCount}}");
    assert_eq!(kubectl(&cluster, &restarts), "0");
    let address = kubectl(&cluster, &format!("get {stays} -o jsonpath={{.status.podIP}}"));
    assert!(get_from(&cluster, "node-1", &address, 8080).contains("stayer-"));
    assert_eq!(kubectl(&cluster, "get node node-2 -o jsonpath={.spec.taints[*].key}"), "");
}
