//! `pod-start`: from the answer to "create" until a pod is Running and Ready, image present.

use super::connect;
use crate::report::{Latencies, Report};
use anyhow::{Context, Result};
use clap::Args;
use client::{Api, Client, DeleteOptions, ListOptions, Watched};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Namespace, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const NAMESPACE: &str = "windlass-bench-pods";
/// Pods that are not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(300);

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Pods at once, a pass for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 100])]
    count: Vec<usize>,
    /// Image that the nodes have
    #[arg(long, default_value = "windlass.local/windlass:0.1.0")]
    image: String,
    /// Arguments of the container
    #[arg(long, default_value = "hello", value_delimiter = ' ')]
    args: Vec<String>,
}

/// Runs the scenario.
pub(crate) async fn run(options: &Options, kubeconfig: Option<&Path>, report: &mut Report) -> Result<()> {
    let client = connect(kubeconfig).await?.client();
    let namespaces: Api<Namespace> = client.all();
    let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
    namespaces
        .create(&Namespace { metadata, ..Namespace::default() })
        .await
        .context("failed to make the namespace windlass-bench-pods; is an old run still there?")?;
    let mut outcome = Ok(());
    for count in &options.count {
        outcome = pass(options, *count, &client, report).await;
        if outcome.is_err() {
            break;
        }
    }
    let gone = namespaces.delete(NAMESPACE).await;
    outcome?;
    gone.context("failed to delete the namespace windlass-bench-pods")?;
    Ok(())
}

#[derive(Default)]
struct Times {
    created: Option<Instant>,
    running: Option<Instant>,
    ready: Option<Instant>,
}

async fn pass(options: &Options, count: usize, client: &Client, report: &mut Report) -> Result<()> {
    let pods: Api<Pod> = client.namespaced(NAMESPACE);
    let revision = pods.list(&ListOptions::default()).await?.revision;
    let from = ListOptions { resource_version: Some(revision.to_string()), ..ListOptions::default() };
    let mut events = pods.watch(&from).await?;
    let mut times: BTreeMap<String, Times> = BTreeMap::new();
    let start = Instant::now();
    for number in 0..count {
        let name = format!("pod-{count}-{number}");
        times.entry(name.clone()).or_default().created = Some(Instant::now());
        pods.create(&pod(&name, options)).await?;
    }
    let follow = async {
        while times.values().any(|times| times.ready.is_none()) {
            let event = events.next().await.context("the watch ended")??;
            let (Watched::Added(pod) | Watched::Modified(pod)) = event else { continue };
            let status = pod.status.clone().unwrap_or_default();
            let Some(times) = pod.metadata.name.as_ref().and_then(|name| times.get_mut(name)) else {
                continue;
            };
            if status.phase.as_deref() == Some("Running") {
                times.running.get_or_insert_with(Instant::now);
            }
            if status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True") {
                times.ready.get_or_insert_with(Instant::now);
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, follow)
        .await
        .context("not all pods became ready within five minutes")??;
    let elapsed = start.elapsed();
    let latencies = |at: fn(&Times) -> Option<Instant>| {
        let each =
            times.values().filter_map(|times| Some(at(times)?.saturating_duration_since(times.created?)));
        Latencies(each.collect())
    };
    report.operations(&format!("{count} pods to Running"), elapsed, latencies(|times| times.running));
    report.operations(&format!("{count} pods to Ready"), elapsed, latencies(|times| times.ready));
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    pods.delete_collection(&ListOptions::default(), &now).await?;
    Ok(())
}

fn pod(name: &str, options: &Options) -> Pod {
    let container = Container {
        name: "c".to_owned(),
        image: Some(options.image.clone()),
        args: Some(options.args.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
        ..Pod::default()
    }
}
