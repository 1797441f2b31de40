//! `windlass store status`.

use super::place::{Place, answer};
use super::progress::human;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;
use store::admin::rpc::{StatusRequest, StatusResponse};

/// Flags of `windlass store status`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store status
  windlass store status -o json                      for programs
  windlass store status --data-dir /tmp/a            of another cluster

The quota counts the newest version of each key; history has limits of its own. Space \"in use\" is what keys and history
take in memory; \"allocated\" is what the log and the checkpoint take on the disk ('windlass store defrag' makes it less).")]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    place: Place,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Prints the figures. An alarm or a read-only store is no failure of the verb.
pub(crate) async fn run(options: &StatusOptions) -> Result<()> {
    let mut door = options.place.open().await?;
    let status = answer("asking the store", door.client.status(StatusRequest {})).await?;
    match options.output {
        Output::Text => print!("{}", text(&status, door.is_online)),
        Output::Json => println!("{:#}", json(&status, door.is_online)),
    }
    Ok(())
}

fn text(status: &StatusResponse, is_online: bool) -> String {
    let in_keys = status.bytes.saturating_sub(status.history_bytes);
    let quota = match status.quota {
        0 => "none".to_owned(),
        quota => format!("{} of {} ({} %)", human(in_keys), human(quota), in_keys * 100 / quota),
    };
    let syncs = match status.syncs {
        0 => "none yet".to_owned(),
        syncs => format!(
            "{syncs}, {:.2} ms on average, {} slow",
            status.sync_nanoseconds as f64 / syncs as f64 / 1e6,
            status.slow_syncs
        ),
    };
    let allocated = status.log_bytes + status.checkpoint_bytes;
    let rows = [
        ("directory", status.directory.clone()),
        ("state", if is_online { "in use by a running cluster" } else { "at rest" }.to_owned()),
        ("revision", format!("{} (readable from {})", status.revision, status.compacted)),
        ("keys", status.keys.to_string()),
        ("leases", status.leases.to_string()),
        ("watchers", status.watchers.to_string()),
        ("in use", format!("{} (history {})", human(status.bytes), human(status.history_bytes))),
        (
            "allocated",
            format!(
                "{} (log {}, checkpoint {})",
                human(allocated),
                human(status.log_bytes),
                human(status.checkpoint_bytes)
            ),
        ),
        ("quota", quota),
        ("syncs", syncs),
        ("alarms", if status.alarms.is_empty() { "none".to_owned() } else { status.alarms.join(", ") }),
    ];
    let mut out: String = rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    if !status.alarms.is_empty() {
        out += "\nWrites are refused until the alarm is taken back: delete data or raise the quota, then run \
                'windlass store alarm disarm'.\n";
    }
    if !status.failure.is_empty() {
        out += &format!("\nThe store is read-only: {}\n", status.failure);
    }
    out
}

fn json(status: &StatusResponse, is_online: bool) -> serde_json::Value {
    json!({
        "version": status.version,
        "directory": status.directory,
        "online": is_online,
        "revision": status.revision,
        "compactRevision": status.compacted,
        "keys": status.keys,
        "leases": status.leases,
        "watchers": status.watchers,
        "bytesInUse": status.bytes,
        "historyBytes": status.history_bytes,
        "logBytes": status.log_bytes,
        "checkpointBytes": status.checkpoint_bytes,
        "quotaBytes": status.quota,
        "alarms": status.alarms,
        "failure": status.failure,
        "syncs": status.syncs,
        "syncSeconds": status.sync_nanoseconds as f64 / 1e9,
        "slowSyncs": status.slow_syncs,
    })
}
