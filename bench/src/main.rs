//! Comparisons: the same load on any Kubernetes endpoint, ours or upstream's.
//!
//! Every scenario is bounded in count and time, cleans up after itself, and prints a table or, with `--json`,
//! one JSON object per row. Deliberately absent: checks of behaviour, which are the tests'.

mod flood;
mod playground;
mod process;
mod report;
mod scenarios;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Measure a Kubernetes endpoint.
#[derive(Parser)]
#[command(after_help = "Examples:
  cargo run --release -p bench -- startup
  cargo run --release -p bench -- api --kubeconfig /var/lib/windlass/admin.kubeconfig
  cargo run --release -p bench -- store --dir /var/lib/windlass
  cargo run --release -p bench -- pod-start --count 20 --kubeconfig admin.kubeconfig --json")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    /// The endpoint and identity to use [default: KUBECONFIG or ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Print JSON, one object per row
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Scenario {
    /// Exec of `windlass up` to node Ready and DNS answering, with an empty and with an existing data directory
    Startup(scenarios::startup::Options),
    /// Puts, ranges, reads and watches on an endpoint of etcd's API
    Etcd(scenarios::etcd::Options),
    /// Resident memory and CPU of processes over a time
    Idle(scenarios::idle::Options),
    /// Creates, reads, updates, deletes, large lists and many watchers
    Api(scenarios::api::Options),
    /// Resident memory after many objects, pods and watchers
    Memory(scenarios::memory::Options),
    /// Creation of pods to Running and to Ready
    PodStart(scenarios::pod_start::Options),
    /// The embedded store through its trait: puts, memory, opening, ranges, watchers
    Store(scenarios::store::Options),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = report::Report::new(cli.json);
    match cli.scenario {
        Scenario::Startup(options) => scenarios::startup::run(&options, &mut report)?,
        Scenario::Idle(options) => scenarios::idle::run(&options, &mut report)?,
        Scenario::Etcd(options) => runtime.block_on(scenarios::etcd::run(&options, &mut report))?,
        Scenario::Api(options) => {
            runtime.block_on(scenarios::api::run(&options, cli.kubeconfig.as_deref(), &mut report))?;
        }
        Scenario::Memory(options) => {
            runtime.block_on(scenarios::memory::run(&options, cli.kubeconfig.as_deref(), &mut report))?;
        }
        Scenario::PodStart(options) => {
            runtime.block_on(scenarios::pod_start::run(&options, cli.kubeconfig.as_deref(), &mut report))?;
        }
        Scenario::Store(options) => runtime.block_on(scenarios::store::run(&options, &mut report))?,
    }
    report.print();
    Ok(())
}
