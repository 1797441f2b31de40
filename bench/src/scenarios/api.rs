//! `api`: 1 KiB ConfigMaps one by one and 64 at once, a list of many pods, many watchers.

use super::connect;
use crate::report::{Latencies, Report};
use anyhow::{Context, Result, ensure};
use clap::Args;
use client::{Api, Client, DeleteOptions, ListOptions};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;

/// Everything happens here, and goes with it.
const NAMESPACE: &str = "windlass-bench";
/// A watcher that hears nothing for so long has lost events.
const SILENCE: Duration = Duration::from_secs(30);

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Objects per pass
    #[arg(long, default_value_t = 2000)]
    objects: usize,
    /// Pods in the large list
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Watchers
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Updates that each watcher sees
    #[arg(long, default_value_t = 200)]
    updates: usize,
}

/// Runs the scenario.
pub(crate) async fn run(options: &Options, kubeconfig: Option<&Path>, report: &mut Report) -> Result<()> {
    let client = connect(kubeconfig).await?.client();
    let namespaces: Api<Namespace> = client.all();
    let namespace = Namespace { metadata: named(NAMESPACE), ..Namespace::default() };
    namespaces
        .create(&namespace)
        .await
        .context("failed to make the namespace windlass-bench; is an old run still there?")?;
    let outcome = measure(options, &client, report).await;
    let gone = namespaces.delete(NAMESPACE).await;
    outcome?;
    gone.context("failed to delete the namespace windlass-bench")?;
    Ok(())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn config_map(name: &str, fill: char) -> ConfigMap {
    let data = BTreeMap::from([("data".to_owned(), fill.to_string().repeat(1024))]);
    ConfigMap { metadata: named(name), data: Some(data), ..ConfigMap::default() }
}

async fn measure(options: &Options, client: &Client, report: &mut Report) -> Result<()> {
    for width in [1, 64] {
        crud(options.objects, width, client, report).await?;
    }
    list_pods(options.pods, client, report).await?;
    watchers(options, client, report).await
}

/// Calls `operation` for each number below `count`, `width` at a time.
async fn timed<F, Fut>(count: usize, width: usize, operation: F) -> Result<(Duration, Latencies)>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), machinery::Status>>,
{
    let start = Instant::now();
    let operation = &operation;
    let each = |number| async move {
        let start = Instant::now();
        operation(number).await.map(|()| start.elapsed())
    };
    let results: Vec<_> = stream::iter((0..count).map(each)).buffer_unordered(width).collect().await;
    let elapsed = start.elapsed();
    let latencies = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok((elapsed, Latencies(latencies)))
}

async fn crud(count: usize, width: usize, client: &Client, report: &mut Report) -> Result<()> {
    let maps: Api<ConfigMap> = client.namespaced(NAMESPACE);
    let maps = &maps;
    let name = |number: usize| format!("map-{width}-{number}");
    let (elapsed, latencies) =
        timed(count, width, |n| async move { maps.create(&config_map(&name(n), 'a')).await.map(|_| ()) })
            .await?;
    report.operations(&format!("create, {width} at once"), elapsed, latencies);
    let (elapsed, latencies) =
        timed(count, width, |n| async move { maps.get(&name(n)).await.map(|_| ()) }).await?;
    report.operations(&format!("get, {width} at once"), elapsed, latencies);
    let (elapsed, latencies) =
        timed(count, width, |n| async move { maps.update(&config_map(&name(n), 'b')).await.map(|_| ()) })
            .await?;
    report.operations(&format!("update, {width} at once"), elapsed, latencies);
    let (elapsed, latencies) =
        timed(count, width, |n| async move { maps.delete(&name(n)).await.map(|_| ()) }).await?;
    report.operations(&format!("delete, {width} at once"), elapsed, latencies);
    Ok(())
}

async fn list_pods(count: usize, client: &Client, report: &mut Report) -> Result<()> {
    let pods: Api<Pod> = client.namespaced(NAMESPACE);
    let pods = &pods;
    let create = |number: usize| async move {
        let container =
            Container { name: "c".to_owned(), image: Some("none".to_owned()), ..Container::default() };
        // A scheduler that nobody runs: the pods are data here.
        let spec = PodSpec {
            containers: vec![container],
            scheduler_name: Some("nobody".to_owned()),
            ..PodSpec::default()
        };
        let pod = Pod { metadata: named(&format!("pod-{number}")), spec: Some(spec), ..Pod::default() };
        pods.create(&pod).await.map(|_| ())
    };
    let (elapsed, latencies) = timed(count, 64, create).await?;
    report.operations("create pods, 64 at once", elapsed, latencies);
    let (elapsed, latencies) = timed(10, 1, |_| async move {
        let page = pods.list(&ListOptions::default()).await?;
        debug_assert_eq!(page.items.len(), count);
        Ok(())
    })
    .await?;
    report.operations(&format!("list {count} pods"), elapsed, latencies);
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    pods.delete_collection(&ListOptions::default(), &now).await?;
    Ok(())
}

async fn watchers(options: &Options, client: &Client, report: &mut Report) -> Result<()> {
    let maps: Api<ConfigMap> = client.namespaced(NAMESPACE);
    maps.create(&config_map("watched", 'a')).await?;
    let revision = maps.list(&ListOptions::default()).await?.revision;
    let watching = Arc::new(Barrier::new(options.watchers + 1));
    let expected = options.updates;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..options.watchers {
        let (maps, watching) = (maps.clone(), watching.clone());
        let from = ListOptions { resource_version: Some(revision.to_string()), ..ListOptions::default() };
        tasks.spawn(async move {
            let opened = maps.watch(&from).await;
            watching.wait().await;
            let mut events = opened?;
            let mut arrivals = Vec::with_capacity(expected);
            while arrivals.len() < expected {
                let event =
                    tokio::time::timeout(SILENCE, events.next()).await.context("a watcher heard nothing")?;
                event.context("a watch ended early")??;
                arrivals.push(Instant::now());
            }
            anyhow::Ok(arrivals)
        });
    }
    watching.wait().await;
    let start = Instant::now();
    let mut sent = Vec::with_capacity(expected);
    for number in 0..expected {
        sent.push(Instant::now());
        let fill = char::from(b'a' + u8::try_from(number % 26)?);
        maps.update(&config_map("watched", fill)).await?;
    }
    let mut latencies = Latencies::default();
    let mut last = start;
    while let Some(arrivals) = tasks.join_next().await {
        let arrivals = arrivals??;
        ensure!(arrivals.len() == expected, "a watcher missed events");
        last = arrivals.iter().copied().chain([last]).max().unwrap_or(last);
        latencies
            .0
            .extend(arrivals.iter().zip(&sent).map(|(got, sent)| got.saturating_duration_since(*sent)));
    }
    let what = format!("events to {} watchers", options.watchers);
    report.operations(&what, last.saturating_duration_since(start), latencies);
    Ok(())
}
