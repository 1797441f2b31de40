//! `examples/guestbook.yaml` on three nodes, from a registry: a rollout under load, back again, a drained node, a
//! control plane killed midway, and the data that must outlive all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod registry;
mod support;

use k8s_openapi::jiff::Timestamp;
use registry::{Recipe, Registry};
use std::time::UNIX_EPOCH;
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

const NGINX: &str = "/usr/sbin/nginx";
const REDIS: &str = "/usr/bin/redis-server";

fn publish(registry: &Registry) {
    let front = |version| Recipe {
        programs: &[NGINX],
        files: version,
        dirs: &["var/log/nginx", "var/lib/nginx", "run"],
    };
    registry.publish("front:v1", &front(&[("srv/version", "v1\n")]), &[]).unwrap();
    registry.publish("front:v2", &front(&[("srv/version", "v2\n")]), &[]).unwrap();
    registry.publish("redis:v1", &Recipe { programs: &[REDIS], ..Recipe::default() }, &[]).unwrap();
    registry.publish("busybox:v1", &Recipe::default(), &[]).unwrap();
}

fn ours(cluster: &Cluster, line: &str) -> String {
    kubectl(cluster, &format!("-n guestbook {line}"))
}

fn rolled_out(cluster: &Cluster, what: &str) {
    ours(cluster, &format!("rollout status {what} --timeout=60s"));
}

fn words(cluster: &Cluster) -> Vec<String> {
    let answer = ours(cluster, "exec load-test -- wget -q -O- http://front/words");
    answer
        .split_whitespace()
        .filter(|word| word.starts_with(char::is_alphabetic))
        .map(str::to_owned)
        .collect()
}

/// A client that asks for the version through the Service all the time and never tries again. Each line is what it
/// got and how many seconds that took; a question without an answer fails.
const CLIENT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: load-test, namespace: guestbook}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers:
  - name: client
    image: localhost:5000/busybox:v1
    command:
    - sh
    - -c
    - |
      while :; do
        begun=$(date +%s)
        out=$(timeout 30 wget -q -O- http://front/version 2>&1) || out="failed ($?): $out"
        echo "$out in $(($(date +%s) - begun)) s"
        sleep 0.05
      done
"#;

/// What the test was doing when.
#[derive(Default)]
struct Diary(Vec<(Timestamp, String)>);

impl Diary {
    fn enter(&mut self, step: &str) {
        let since = UNIX_EPOCH.elapsed().unwrap();
        let now = Timestamp::from_nanosecond(since.as_nanos().try_into().unwrap()).unwrap();
        println!("{now}: {step}");
        self.0.push((now, step.to_owned()));
    }

    fn step_at(&self, time: Timestamp) -> &str {
        self.0.iter().rev().find(|(begun, _)| *begun <= time).map_or("before the test", |(_, step)| step)
    }

    /// What the client saw other than a version at once, each with its time and the step of the test.
    fn odd(&self, log: &str) -> (Vec<String>, Vec<String>) {
        let (mut failed, mut slow) = (Vec::new(), Vec::new());
        for line in log.lines() {
            let (time, said) = line.split_once(' ').unwrap();
            let time: Timestamp = time.parse().unwrap();
            let described = format!("{time} ({}): {said}", self.step_at(time));
            match said {
                "v1 in 0 s" | "v2 in 0 s" | "v1 in 1 s" | "v2 in 1 s" => {}
                said if said.starts_with("v1 in ") || said.starts_with("v2 in ") => slow.push(described),
                _ => failed.push(described),
            }
        }
        (failed, slow)
    }
}

fn version(cluster: &Cluster) -> String {
    ours(cluster, "exec load-test -- wget -q -O- http://front/version").trim().to_owned()
}

fn deploy(cluster: &Cluster) -> Vec<String> {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guestbook.yaml");
    kubectl(cluster, &format!("apply -f {}", example.display()));
    for what in ["statefulset/redis", "deployment/api", "deployment/front", "daemonset/watch"] {
        rolled_out(cluster, what);
    }
    ours(cluster, "wait job/load --for=condition=Complete --timeout=60s");
    cluster.apply(CLIENT).unwrap();
    ours(cluster, "wait pod/load-test --for=condition=Ready --timeout=30s");
    let loaded = words(cluster);
    assert!(loaded.ends_with(&["one".into(), "two".into(), "three".into()]), "{loaded:?}");
    let watchers = ours(cluster, "get pods -l app=watch -o jsonpath={.items[*].spec.nodeName}");
    assert_eq!(watchers.split_whitespace().count(), 3, "{watchers}");
    loaded
}

/// Drains a node other than the client's and the database's, as far as the budget allows at a time.
fn drain(cluster: &Cluster) {
    let home = ours(cluster, "get pod redis-0 -o jsonpath={.spec.nodeName}");
    let drained = if home == "node-2" { "node-3" } else { "node-2" };
    kubectl(
        cluster,
        &format!("drain {drained} --ignore-daemonsets --delete-emptydir-data --force --timeout=60s"),
    );
    let left = format!("get pods -l app!=watch --field-selector spec.nodeName={drained} -o name");
    assert_eq!(ours(cluster, &left), "");
    kubectl(cluster, &format!("uncordon {drained}"));
    rolled_out(cluster, "deployment/front");
}

#[test]
fn an_application_outlives_what_happens_to_clusters() {
    let test = "an_application_outlives_what_happens_to_clusters";
    if let Some(why) = registry::missing(&[NGINX, REDIS]) {
        println!("skipped {test}: {why}");
        return;
    }
    if !usable(test) {
        return;
    }
    let mut cluster = Cluster::start(program(), 3).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let registries: Vec<Registry> = ["node-1", "node-2", "node-3"]
        .iter()
        .map(|node| Registry::serve(&cluster, node, dir.path(), None).unwrap())
        .collect();
    publish(&registries[0]);
    let mut diary = Diary::default();
    diary.enter("deploying");
    let loaded = deploy(&cluster);

    diary.enter("rolling out v2");
    ours(&cluster, "set image deployment/front front=localhost:5000/front:v2");
    rolled_out(&cluster, "deployment/front");
    assert_eq!(version(&cluster), "v2");
    diary.enter("rolling back to v1");
    ours(&cluster, "rollout undo deployment/front");
    rolled_out(&cluster, "deployment/front");
    assert_eq!(version(&cluster), "v1");
    diary.enter("draining");
    drain(&cluster);
    diary.enter("rolling out v2 again");
    ours(&cluster, "set image deployment/front front=localhost:5000/front:v2");
    ours(&cluster, "wait deployment/front --for=jsonpath={.status.updatedReplicas}=1 --timeout=30s");
    diary.enter("without a control plane");
    cluster.kill().unwrap();
    cluster.up(&[]).unwrap();
    diary.enter("rolling out after the crash");
    rolled_out(&cluster, "deployment/front");
    assert_eq!(version(&cluster), "v2");

    // Nobody noticed.
    let seen = ours(&cluster, "logs load-test --timestamps");
    assert!(seen.contains(" v1 in ") && seen.contains(" v2 in "));
    let (failed, slow) = diary.odd(&seen);
    println!("{} requests, of which slow: {slow:#?}", seen.lines().count());
    assert!(failed.is_empty(), "of {} requests: {failed:#?}", seen.lines().count());

    // The data outlives its pod.
    ours(&cluster, "delete pod redis-0");
    rolled_out(&cluster, "statefulset/redis");
    ours(&cluster, "wait pod/redis-0 --for=condition=Ready --timeout=30s");
    assert_eq!(words(&cluster), loaded);
}
