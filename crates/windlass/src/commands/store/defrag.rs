//! `windlass store defrag`.

use super::place::{Place, answer};
use super::progress::human;
use anyhow::Result;
use clap::Args;
use store::admin::rpc::DefragmentRequest;

/// Flags of `windlass store defrag`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store defrag

Writes the latest state as a checkpoint and removes the log before it. The cluster goes on meanwhile. Space is given back
by itself when enough of the log is history: this verb is for who cannot wait. History stays readable as long as the
process lives; after a restart it begins at this point.")]
pub(crate) struct DefragOptions {
    #[command(flatten)]
    place: Place,
}

/// Gives space back.
pub(crate) async fn run(options: &DefragOptions) -> Result<()> {
    let mut door = options.place.open().await?;
    let done = answer("writing a checkpoint", door.client.defragment(DefragmentRequest {})).await?;
    println!("{} allocated, {} before", human(done.bytes_after), human(done.bytes_before));
    Ok(())
}
