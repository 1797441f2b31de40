//! `kill -9` of `up` at any moment: no acknowledged write is lost, running containers are never touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use client::{HttpTransport, ListOptions};
use component::clock::SystemClock;
use k8s_openapi::api::core::v1::ConfigMap;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use support::{deployment, kubectl, program, usable};
use testkit::cluster::Cluster;
use tokio::sync::mpsc;

const ROUNDS: u64 = 4;
const WRITERS: u64 = 4;

fn config_map(name: &str, value: u64) -> ConfigMap {
    let mut map = ConfigMap {
        data: Some(BTreeMap::from([("n".to_owned(), value.to_string())])),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(name.to_owned());
    map
}

fn value(map: &ConfigMap) -> u64 {
    map.data.as_ref().and_then(|data| data.get("n")?.parse().ok()).unwrap_or(0)
}

async fn connect(cluster: &Cluster) -> client::Client {
    let config = client::Config::from_file(&cluster.kubeconfig()).unwrap();
    HttpTransport::new(config, SystemClock::shared()).await.unwrap().client()
}

/// Creates objects and counts one up until the server is gone; tells each acknowledged write.
async fn write(client: client::Client, writer: String, told: mpsc::UnboundedSender<(String, u64)>) {
    let maps = client.namespaced::<ConfigMap>("default");
    let counter = format!("{writer}-counter");
    if maps.create(&config_map(&counter, 0)).await.is_err() {
        return;
    }
    for number in 1.. {
        let fresh = format!("{writer}-{number}");
        if maps.create(&config_map(&fresh, number)).await.is_err() {
            return;
        }
        let _ = told.send((fresh, number));
        if maps.update(&config_map(&counter, number)).await.is_err() {
            return;
        }
        let _ = told.send((counter.clone(), number));
    }
}

/// Writes from all sides, kills `up` after `kill_after` acknowledgements, and returns the acknowledged values.
async fn crash_while_writing(cluster: &mut Cluster, round: u64, kill_after: u64) -> BTreeMap<String, u64> {
    let client = connect(cluster).await;
    let (told, mut acknowledged) = mpsc::unbounded_channel();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| write(client.clone(), format!("round-{round}-writer-{writer}"), told.clone()))
        .collect();
    drop(told);
    let mut values = BTreeMap::new();
    let mut writers = futures::future::join_all(writers);
    let mut seen = 0;
    loop {
        tokio::select! {
            _ = &mut writers => break,
            Some((name, value)) = acknowledged.recv() => {
                values.insert(name, value);
                seen += 1;
                if seen == kill_after {
                    cluster.kill().unwrap();
                }
            }
        }
    }
    while let Some((name, value)) = acknowledged.recv().await {
        values.insert(name, value);
    }
    values
}

async fn check_writes(cluster: &Cluster, acknowledged: &BTreeMap<String, u64>) {
    let maps = connect(cluster).await.namespaced::<ConfigMap>("default");
    let page = maps.list(&ListOptions::default()).await.unwrap();
    let named = |map: &ConfigMap| (map.metadata.name.clone().unwrap_or_default(), value(map));
    let there: BTreeMap<String, u64> = page.items.iter().map(|map| named(map)).collect();
    for (name, value) in acknowledged {
        let found = there.get(name.as_str());
        assert!(
            found.is_some_and(|found| found >= value),
            "{name} was acknowledged at {value}, found {found:?}"
        );
    }
}

/// Container ids and restart counts by pod, and the processes of all pods.
fn running(cluster: &Cluster) -> (String, BTreeSet<u32>) {
    let path = "{range .items[*]}{.metadata.name} {.status.containerStatuses[*].containerID} \
                {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
    let output = format!("jsonpath={path}");
    let containers = cluster.kubectl(&["get", "pods", "-A", "-o", &output]).unwrap();
    let mut processes = cluster.footprint().unwrap().processes;
    processes.retain(|pid| Some(*pid) != cluster.process());
    (containers, processes)
}

#[test]
fn nothing_acknowledged_is_lost_and_no_container_is_touched() {
    if !usable("nothing_acknowledged_is_lost_and_no_container_is_touched") {
        return;
    }
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() % 1_000_000);
    println!("repeat with SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    let mut cluster = Cluster::start(program(), 1).unwrap();
    cluster.apply(&deployment("hello", 2, "")).unwrap();
    kubectl(&cluster, "rollout status deployment/hello --timeout=30s");
    let before = running(&cluster);
    // The page, the resolver, and a shim for each pod at least.
    assert!(before.1.len() >= 6, "{before:?}");

    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let kill_after =
            1 + (seed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(round as u32 * 7) >> 33) % 400;
        println!("round {round}: killed after {kill_after} acknowledged writes");
        acknowledged.extend(runtime.block_on(crash_while_writing(&mut cluster, round, kill_after)));
        cluster.up(&[]).unwrap();
        runtime.block_on(check_writes(&cluster, &acknowledged));
    }
    assert!(acknowledged.len() as u64 >= ROUNDS, "{acknowledged:?}");

    let dir = cluster.dir().to_string_lossy().into_owned();
    cluster.windlass(&["status", "--data-dir", &dir, "--wait", "30s"]).unwrap();
    assert_eq!(running(&cluster), before, "containers were touched");
    // It still works on.
    kubectl(&cluster, "scale deployment/hello --replicas=3");
    kubectl(&cluster, "rollout status deployment/hello --timeout=30s");
}

#[test]
fn a_start_that_is_killed_half_way_is_taken_up() {
    if !usable("a_start_that_is_killed_half_way_is_taken_up") {
        return;
    }
    let mut cluster = Cluster::new(program(), 2).unwrap();
    for step in ["ok store", "ok API server", "ok scheduler", "ok node", "ok cluster DNS"] {
        cluster.up_until(&[], step).unwrap();
        cluster.kill().unwrap();
    }
    cluster.up(&[]).unwrap();
    // Killed while pods are being made.
    cluster.apply(&deployment("hello", 6, "")).unwrap();
    kubectl(&cluster, "wait deployment/hello --for=jsonpath={.status.replicas}=6 --timeout=20s");
    cluster.kill().unwrap();
    cluster.up(&[]).unwrap();
    kubectl(&cluster, "rollout status deployment/hello --timeout=30s");
    // Whatever was half made is known: nothing of it stays.
    let footprint = cluster.footprint().unwrap();
    cluster.kill().unwrap();
    cluster.down(&[]).unwrap();
    let left = footprint.remains().unwrap();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}
