use super::defaults;
use crate::cache::{Cache, PodInfo};
use crate::framework::{Cycle, Framework, Handle, Notifier};
use api::Kind;
use client::testing::FakeApi;
use client::{Client, InformerFactory};
use component::Tasks;
use component::clock::FakeClock;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

fn framework() -> Framework {
    let clock = FakeClock::new(SystemTime::UNIX_EPOCH);
    let client = Client::new(Arc::new(FakeApi::new(clock.clone())));
    let informers = InformerFactory::new(client.clone(), clock.clone(), Tasks::new());
    defaults(&Handle { client, informers, clock, notify: Arc::new(Notifier::default()) })
}

fn node(name: &str, zone: &str, taints: Value) -> Node {
    let object = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"zone": zone, "kubernetes.io/hostname": name}},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}});
    Node::from_json(object.to_string().as_bytes()).unwrap()
}

fn pod(name: &str, spec: Value) -> Arc<Pod> {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec,
        "metadata": {"namespace": "n", "name": name, "labels": {"app": name.split('-').next()}}});
    Arc::new(Pod::from_json(object.to_string().as_bytes()).unwrap())
}

/// Nodes a and b in zone x, c in zone y; d in zone y is tainted. `running` are pods with their nodes.
fn cluster(running: &[(&str, Arc<Pod>)]) -> Cache {
    let cache = Cache::default();
    let taint = json!([{"key": "only", "value": "gpu", "effect": "NoSchedule"}]);
    for (name, zone, taints) in
        [("a", "x", json!([])), ("b", "x", json!([])), ("c", "y", json!([])), ("d", "y", taint)]
    {
        cache.set_node(Arc::new(node(name, zone, taints)));
    }
    for (node, pod) in running {
        cache.set_pod(node, pod.clone());
    }
    cache
}

/// The nodes that pass all filters, and the distinct reasons of the others.
async fn feasible(running: &[(&str, Arc<Pod>)], incoming: Arc<Pod>) -> (String, Vec<String>) {
    let (framework, cache) = (framework(), cluster(running));
    let mut cycle = Cycle::new(Arc::new(PodInfo::new(incoming)), cache.snapshot());
    if let Err((_, rejection)) = framework.run_pre_filters(&mut cycle) {
        return (String::new(), rejection.reasons);
    }
    let (mut names, mut reasons) = (String::new(), Vec::new());
    for node in cycle.nodes.values() {
        match framework.run_filters(&cycle, node) {
            Ok(()) => names.push_str(node.name()),
            Err((_, rejection)) => reasons.extend(rejection.reasons),
        }
    }
    reasons.sort();
    reasons.dedup();
    (names, reasons)
}

/// The node with the best score.
async fn best(running: &[(&str, Arc<Pod>)], incoming: Arc<Pod>) -> String {
    let (framework, cache) = (framework(), cluster(running));
    let mut cycle = Cycle::new(Arc::new(PodInfo::new(incoming)), cache.snapshot());
    framework.run_pre_filters(&mut cycle).unwrap();
    let nodes: Vec<_> =
        cycle.nodes.values().filter(|node| framework.run_filters(&cycle, node).is_ok()).cloned().collect();
    let scores = framework.run_scores(&cycle, &nodes);
    let top = nodes.iter().zip(scores).max_by_key(|(_, score)| *score).unwrap();
    top.0.name().to_owned()
}

#[tokio::test]
async fn taints_names_resources_and_selectors_filter() {
    let all = feasible(&[], pod("p", json!({}))).await;
    assert_eq!(all, ("abc".to_owned(), vec!["node(s) had untolerated taint {only: gpu}".to_owned()]));
    let tolerant = json!({"tolerations": [{"key": "only", "operator": "Exists"}]});
    assert_eq!(feasible(&[], pod("p", tolerant)).await.0, "abcd");
    let large = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]});
    assert!(feasible(&[], pod("p", large)).await.1.contains(&"Insufficient cpu".to_owned()));
    assert_eq!(feasible(&[], pod("p", json!({"nodeSelector": {"zone": "y"}}))).await.0, "c");
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let (names, reasons) = feasible(&[("a", pod("q", port.clone()))], pod("p", port)).await;
    assert_eq!(names, "bc");
    assert!(reasons.contains(&"node(s) didn't have free ports for the requested pod ports".to_owned()));
}

#[tokio::test]
async fn hard_spread_keeps_the_skew() {
    let spread = |key: &str| {
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]})
    };
    let running = [("a", pod("web-1", json!({})))];
    assert_eq!(feasible(&running, pod("web-2", spread("zone"))).await.0, "c");
    assert_eq!(feasible(&running, pod("web-2", spread("kubernetes.io/hostname"))).await.0, "bc");
    let (names, reasons) = feasible(&running, pod("web-2", spread("rack"))).await;
    assert_eq!(names, "");
    assert!(reasons[0].contains("missing required label"), "{reasons:?}");
}

#[tokio::test]
async fn soft_spread_prefers_the_emptier_domain() {
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let running = [("a", pod("web-1", json!({}))), ("b", pod("web-2", json!({})))];
    assert_eq!(best(&running, pod("web-3", spread)).await, "c");
}

#[tokio::test]
async fn pods_attract_and_repel_each_other() {
    let term =
        |app: &str, key: &str| json!([{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]);
    let near = |app: &str| json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term(app, "zone")}}});
    let away = |app: &str, key: &str| json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term(app, key)}}});
    let running = [("a", pod("db-1", json!({})))];
    assert_eq!(feasible(&running, pod("web-1", near("db"))).await.0, "ab");
    assert_eq!(feasible(&running, pod("web-1", near("nope"))).await.0, "");
    assert_eq!(
        feasible(&running, pod("web-1", near("web"))).await.0,
        "abc",
        "the first of its kind may start"
    );
    assert_eq!(feasible(&running, pod("db-2", away("db", "kubernetes.io/hostname"))).await.0, "bc");
    let guarded = [("a", pod("db-1", away("web", "zone")))];
    let (names, reasons) = feasible(&guarded, pod("web-1", json!({}))).await;
    assert_eq!(names, "c");
    assert!(reasons.contains(&"node(s) didn't satisfy existing pods anti-affinity rules".to_owned()));
}

#[tokio::test]
async fn claims_that_are_missing_are_named() {
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let (_, reasons) = feasible(&[], pod("p", claim)).await;
    assert_eq!(reasons, ["persistentvolumeclaim \"data\" not found"]);
}
