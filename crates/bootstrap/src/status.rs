//! `windlass status`: is everything ready, and if not, what and why?

use crate::layout::{Layout, Lock};
use crate::options::StatusOptions;
use crate::readiness::{Item, Observer, describe};
use anyhow::{Context, Result, bail};
use client::HttpTransport;
use component::clock::SystemClock;
use component::{SharedClock, Tasks};
use std::time::Duration;

/// Without `--wait`, time for the first look at everything.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Pause between attempts to reach an API server that is not there yet: nothing tells when it will be.
const KNOCK: Duration = Duration::from_millis(100);

/// Runs the command. Prints one line per part; fails when one is not ready.
pub fn run(options: &StatusOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(look(options))
}

async fn look(options: &StatusOptions) -> Result<()> {
    let clock = SystemClock::shared();
    let layout = Layout::new(&options.data_dir);
    let patience = options.wait.unwrap_or(Duration::ZERO);
    let deadline = clock.instant() + patience;
    let transport = loop {
        match reach(&layout, &clock).await {
            Ok(transport) => break transport,
            Err(error) if clock.instant() >= deadline => return Err(error),
            Err(_) => clock.sleep(KNOCK).await,
        }
    };
    let tasks = Tasks::new();
    let observer = Observer::start(&transport.client(), "kube-system", clock.clone(), &tasks);
    let everything = |observer: &Observer| {
        let mut items = observer.nodes();
        if items.is_empty() {
            items.push(Item { name: "nodes".to_owned(), problem: Some("none has registered".to_owned()) });
        }
        items.extend(observer.workloads());
        items
    };
    let left = deadline.saturating_duration_since(clock.instant()).max(FIRST_LOOK);
    let outcome = if options.wait.is_some() {
        observer.wait(left, everything).await
    } else {
        tokio::select! {
            () = observer.synced() => {}
            () = clock.sleep(FIRST_LOOK) => bail!("the API server answers too slowly; try again with --wait 60s"),
        }
        Ok(())
    };
    println!("{:<28} ready", "API server");
    let items = everything(&observer);
    for item in &items {
        println!("{:<28} {}", item.name, item.problem.as_deref().unwrap_or("ready"));
    }
    outcome.map_err(|_| ()).ok();
    if items.iter().any(|item| item.problem.is_some()) {
        bail!("not everything is ready:\n{}", describe(&items, &observer.complaints()));
    }
    Ok(())
}

/// A connection to an API server that says it is ready.
async fn reach(layout: &Layout, clock: &SharedClock) -> Result<HttpTransport> {
    if Lock::holder(&layout.lock_file())?.is_none() {
        bail!("no cluster runs in {}; start one with 'windlass up'", layout.root().display());
    }
    let config = client::Config::from_file(&layout.admin_kubeconfig())
        .context("the cluster is still making its credentials; try again with --wait 60s")?;
    let transport = HttpTransport::new(config, clock.clone()).await?;
    transport
        .get_bytes("/readyz")
        .await
        .context("the API server does not answer yet; try again with --wait 60s")?;
    Ok(transport)
}
