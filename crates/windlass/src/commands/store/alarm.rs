//! `windlass store alarm`.

use super::place::{Place, answer};
use anyhow::Result;
use clap::{Args, Subcommand};
use store::admin::rpc::AlarmsRequest;

/// Verbs of `windlass store alarm`.
#[derive(Subcommand)]
pub(crate) enum AlarmVerb {
    /// List the alarms that are set
    List(AlarmOptions),
    /// Take all alarms back, after what caused them was dealt with
    Disarm(AlarmOptions),
}

/// Flags of both.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store alarm list
  windlass store alarm disarm

NOSPACE is set when a write would exceed the quota (2 GiB unless 'windlass up --quota-backend-bytes' says otherwise).
From then on writes are refused, while deletions and reads go on. Delete data or raise the quota, then disarm.")]
pub(crate) struct AlarmOptions {
    #[command(flatten)]
    place: Place,
}

/// Lists, and takes back if asked to.
pub(crate) async fn run(verb: &AlarmVerb) -> Result<()> {
    let (options, disarm) = match verb {
        AlarmVerb::List(options) => (options, false),
        AlarmVerb::Disarm(options) => (options, true),
    };
    let mut door = options.place.open().await?;
    let found = answer("asking the store", door.client.alarms(AlarmsRequest { disarm })).await?;
    if found.alarms.is_empty() {
        println!("no alarms");
    }
    for alarm in found.alarms {
        println!("{alarm}{}", if disarm { " disarmed" } else { "" });
    }
    Ok(())
}
