//! `memory`: resident memory of a server that holds many objects and pods and serves many watchers.

use super::crowd::Crowd;
use crate::playground::{Playground, STREAMS, config_map, pod};
use crate::process;
use crate::report::Report;
use crate::wire::{Endpoint, Link};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use component::Tasks;
use http::Method;
use serde_json::json;
use std::path::Path;

/// Requests at once.
const WIDTH: usize = 64;

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// ConfigMaps of 1 KiB
    #[arg(long, default_value_t = 40_000)]
    objects: usize,
    /// Pods
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Watchers
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Updates that each watcher sees
    #[arg(long, default_value_t = 200)]
    updates: usize,
    /// Names of programs whose processes are measured, by the file they were started from
    #[arg(long, default_value = "windlass", value_delimiter = ',')]
    programs: Vec<String>,
}

/// Runs the scenario.
pub(crate) async fn run(options: &Options, kubeconfig: Option<&Path>, report: &mut Report) -> Result<()> {
    ensure!(
        !process::sample(&options.programs).is_empty(),
        "no process of {} runs",
        options.programs.join(", ")
    );
    let tasks = Tasks::new();
    let endpoint = Endpoint::load(kubeconfig, false, &tasks)?;
    let playground = Playground::make(&endpoint).await?;
    let outcome = fill(options, &playground, report).await;
    let removed = playground.remove().await;
    tasks.stop();
    outcome?;
    removed.context("failed to clean up; remove the namespace windlass-bench-… by hand")?;
    row("everything removed", options, report);
    Ok(())
}

fn row(what: &str, options: &Options, report: &mut Report) {
    let samples = process::sample(&options.programs);
    let (rss, pss) = samples.values().fold((0, 0), |(rss, pss), s| (rss + s.rss_kib, pss + s.pss_kib));
    report.row(vec![
        ("after", json!(what)),
        ("processes", json!(samples.len())),
        ("RSS MiB", json!(rss / 1024)),
        ("PSS MiB", json!(pss / 1024)),
    ]);
}

async fn fill(options: &Options, playground: &Playground<'_>, report: &mut Report) -> Result<()> {
    row("nothing", options, report);
    let mut links = playground.endpoint.links(WIDTH, STREAMS).await?;
    playground.allow_pods(&mut links[0]).await?;
    for (plural, count) in [("configmaps", options.objects), ("pods", options.pods)] {
        let all = playground.all(plural);
        let create = async |link: &mut Link, n: usize| {
            let name = format!("{plural}-{n}");
            let body: Bytes = if plural == "pods" { pod(&name) } else { config_map(&name, 'a') };
            link.call(Method::POST, &all, body).await.map(drop)
        };
        Playground::timed(&mut links, count, create).await?;
        row(&format!("{count} {plural}"), options, report);
    }
    let link = &mut links[0];
    let crowd = Crowd::gather(playground, link, options.watchers, options.updates).await?;
    row(&format!("{} watchers", options.watchers), options, report);
    crowd.update_and_count(playground, link).await?;
    row(&format!("{} updates", options.updates), options, report);
    for _ in 0..3 {
        link.call(Method::GET, &playground.all("pods"), Bytes::new()).await?;
    }
    row(&format!("lists of {} pods", options.pods), options, report);
    Ok(())
}
