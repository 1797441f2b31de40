//! `api`: 1 KiB ConfigMaps one by one and 64 at once, a list of many pods, many watchers.

use super::crowd::Crowd;
use crate::playground::{Playground, STREAMS, config_map, pod};
use crate::report::{Latencies, Report};
use crate::wire::{Endpoint, Link};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use component::Tasks;
use http::Method;
use http_body_util::BodyExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests at once in the wide passes.
const WIDTH: usize = 64;

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Parts to run
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Part::Crud, Part::List, Part::Watch])]
    only: Vec<Part>,
    /// ConfigMaps of the passes that send one request at a time
    #[arg(long, default_value_t = 2000)]
    objects: usize,
    /// ConfigMaps of the passes that send 64 requests at once
    #[arg(long, default_value_t = 10_000)]
    wide_objects: usize,
    /// Pods in the large list
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Objects in the long list, small ones
    #[arg(long, default_value_t = 100_000)]
    long: usize,
    /// Watchers
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Updates that each watcher sees
    #[arg(long, default_value_t = 200)]
    updates: usize,
    /// HTTP/1.1 with a connection for each worker and watcher, instead of HTTP/2
    #[arg(long)]
    http1: bool,
    /// Tell the CPU time of these programs per operation, by the file they were started from
    #[arg(long, value_name = "PROGRAMS", value_delimiter = ',')]
    servers: Vec<String>,
}

/// A part of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Create, get, update and delete ConfigMaps
    Crud,
    /// List many pods
    List,
    /// List very many small ConfigMaps; not run unless it is named
    Long,
    /// Send every update to many watchers
    Watch,
}

/// Runs the scenario.
pub(crate) async fn run(options: &Options, kubeconfig: Option<&Path>, report: &mut Report) -> Result<()> {
    report.watch_servers(&options.servers);
    let tasks = Tasks::new();
    let endpoint = Endpoint::load(kubeconfig, options.http1, &tasks)?;
    let playground = Playground::make(&endpoint).await?;
    let outcome = measure(options, &playground, report).await;
    let removed = playground.remove().await;
    tasks.stop();
    outcome?;
    removed.context("failed to clean up; remove the namespace windlass-bench-… by hand")
}

async fn measure(options: &Options, playground: &Playground<'_>, report: &mut Report) -> Result<()> {
    let wants = |part| options.only.contains(&part);
    if wants(Part::Crud) {
        crud(1, options.objects, playground, report).await?;
        crud(WIDTH, options.wide_objects, playground, report).await?;
    }
    if wants(Part::List) {
        list_pods(options.pods, playground, report).await?;
    }
    if wants(Part::Long) {
        long_list(options, playground, report).await?;
    }
    if wants(Part::Watch) {
        watchers(options, playground, report).await?;
    }
    Ok(())
}

async fn crud(width: usize, count: usize, playground: &Playground<'_>, report: &mut Report) -> Result<()> {
    let mut links = playground.endpoint.links(width, STREAMS).await?;
    let all = playground.all("configmaps");
    let name = |number: usize| format!("map-{width}-{number}");
    let one = |number: usize| playground.one("configmaps", &name(number));
    let none = Bytes::new;
    let create = async |link: &mut Link, n: usize| {
        link.call(Method::POST, &all, config_map(&name(n), 'a')).await.map(drop)
    };
    let get = async |link: &mut Link, n: usize| link.call(Method::GET, &one(n), none()).await.map(drop);
    let update = async |link: &mut Link, n: usize| {
        link.call(Method::PUT, &one(n), config_map(&name(n), 'b')).await.map(drop)
    };
    let delete = async |link: &mut Link, n: usize| link.call(Method::DELETE, &one(n), none()).await.map(drop);
    let links = links.as_mut_slice();
    report.begin();
    let (elapsed, latencies) = Playground::timed(links, count, create).await?;
    report.operations(&format!("create, {width} at once"), elapsed, latencies);
    report.begin();
    let (elapsed, latencies) = Playground::timed(links, count, get).await?;
    report.operations(&format!("get, {width} at once"), elapsed, latencies);
    report.begin();
    let (elapsed, latencies) = Playground::timed(links, count, update).await?;
    report.operations(&format!("update, {width} at once"), elapsed, latencies);
    report.begin();
    let (elapsed, latencies) = Playground::timed(links, count, delete).await?;
    report.operations(&format!("delete, {width} at once"), elapsed, latencies);
    Ok(())
}

async fn list_pods(count: usize, playground: &Playground<'_>, report: &mut Report) -> Result<()> {
    let mut links = playground.endpoint.links(WIDTH, STREAMS).await?;
    let all = playground.all("pods");
    playground.allow_pods(&mut links[0]).await?;
    let create = async |link: &mut Link, n: usize| {
        link.call(Method::POST, &all, pod(&format!("pod-{n}"))).await.map(drop)
    };
    report.begin();
    let (elapsed, latencies) = Playground::timed(&mut links, count, create).await?;
    report.operations(&format!("create pods, {WIDTH} at once"), elapsed, latencies);
    let link = &mut links[0];
    list(link, &all, "pods", (count, b"\"name\":\"pod-"), report).await?;
    let now = Bytes::from_static(br#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#);
    link.call(Method::DELETE, &all, now).await.map(drop)
}

/// Lists `all` ten times; each list holds `marker` as often as there are objects.
async fn list(
    link: &mut Link,
    all: &str,
    plural: &str,
    (count, marker): (usize, &[u8]),
    report: &mut Report,
) -> Result<()> {
    let (mut first, mut whole) = (Latencies::default(), Latencies::default());
    report.begin();
    let mut last = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        let mut body = link.open(Method::GET, all, Bytes::new()).await?.into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if pieces.is_empty() {
                first.0.push(start.elapsed());
            }
            pieces.push(data);
        }
        whole.0.push(start.elapsed());
        last = pieces;
    }
    let total = |latencies: &Latencies| latencies.0.iter().sum::<Duration>();
    report.operations(&format!("list {count} {plural}, first byte"), total(&first), first);
    report.operations(&format!("list {count} {plural}"), total(&whole), whole);
    let found = memchr::memmem::find_iter(&last.concat(), marker).count();
    ensure!(found == count, "a list of {count} {plural} held {found}");
    Ok(())
}

async fn long_list(options: &Options, playground: &Playground<'_>, report: &mut Report) -> Result<()> {
    let mut links = playground.endpoint.links(WIDTH, STREAMS).await?;
    let all = playground.all("configmaps");
    let create = async |link: &mut Link, n: usize| {
        let body = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"small-{n}\"}},\"data\":{{\"a\":\"b\"}}}}"
        );
        link.call(Method::POST, &all, body.into()).await.map(drop)
    };
    let rss = || crate::process::sample(&options.servers).values().map(|server| server.rss_kib).sum::<u64>();
    report.begin();
    let (elapsed, latencies) = Playground::timed(&mut links, options.long, create).await?;
    report.operations("create small ConfigMaps, 64 at once", elapsed, latencies);
    let before = rss();
    list(&mut links[0], &all, "ConfigMaps", (options.long, b"\"name\":\"small-"), report).await?;
    if !options.servers.is_empty() {
        eprintln!("RSS of the servers: {} MiB before these lists, {} MiB after", before / 1024, rss() / 1024);
    }
    Ok(())
}

async fn watchers(options: &Options, playground: &Playground<'_>, report: &mut Report) -> Result<()> {
    let mut link = playground.endpoint.connect().await?;
    let crowd = Crowd::gather(playground, &mut link, options.watchers, options.updates).await?;
    report.begin();
    let (elapsed, latencies) = crowd.update_and_count(playground, &mut link).await?;
    report.operations(&format!("events to {} watchers", options.watchers), elapsed, latencies);
    Ok(())
}
