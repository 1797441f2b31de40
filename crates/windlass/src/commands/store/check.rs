//! `windlass store check`.

use super::place::{Place, words};
use super::progress::{self, Progress, Unit, human};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use store::admin::client::Client;
use store::admin::rpc::{CheckReport, CheckRequest};
use store::embedded;

/// Flags of `windlass store check`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store check                               of the running cluster, or of the directory at rest
  windlass store check --data-dir /backup/windlass   of a copy

Reads every file and verifies its checksums and the order of all commits; nothing is changed. In a running cluster it is
also compared with what is in memory. Exits 1 when anything is wrong, and names file and offset.")]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    place: Place,
}

/// Verifies the files.
pub(crate) async fn run(options: &CheckOptions) -> Result<()> {
    let report = match options.place.running().await {
        Some(client) => in_use(client).await?,
        None => {
            let dir = options.place.directory()?;
            let checking = tokio::task::spawn_blocking(move || embedded::check(&dir));
            let report = progress::spin("reading the store", checking).await?;
            let report = report.map_err(|error| options.place.explain(error))?;
            CheckReport {
                revision: report.revision,
                oldest: report.oldest,
                keys: report.keys,
                leases: report.leases,
                bytes: report.bytes,
            }
        }
    };
    println!(
        "ok: {} read; {} keys, {} leases at revision {}, readable from {}",
        human(report.bytes),
        report.keys,
        report.leases,
        report.revision,
        report.oldest
    );
    Ok(())
}

async fn in_use(mut client: Client) -> Result<CheckReport> {
    let failed = |status: tonic::Status| match status.code() {
        tonic::Code::DataLoss => anyhow!(
            "{}\nThe running cluster still has everything in memory: save it now with 'windlass store snapshot save FILE', \
             then stop the cluster, move its store away and restore the snapshot",
            status.message()
        ),
        _ => words(&status),
    };
    let mut progress = Progress::new("verifying", Unit::Bytes);
    let mut told = client.check(CheckRequest {}).await.map_err(failed)?.into_inner();
    let mut report = None;
    while let Some(message) = told.message().await.map_err(failed)? {
        progress.set(message.done, message.total);
        report = message.report.or(report);
    }
    report.context("the cluster went away before the check was done; run it again")
}
