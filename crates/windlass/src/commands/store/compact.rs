//! `windlass store compact`.

use super::place::{Place, answer};
use super::progress::human;
use anyhow::Result;
use clap::Args;
use store::admin::rpc::CompactRequest;

/// Flags of `windlass store compact`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store compact                             forget everything but the latest versions
  windlass store compact --revision 120000           ... that is older than a revision

History is compacted by itself after five minutes, and earlier when it takes more than 256 MiB: this verb is for who
cannot wait. Watches that want to go on from before the revision have to list again.")]
pub(crate) struct CompactOptions {
    #[command(flatten)]
    place: Place,
    /// Oldest revision to keep readable [default: the latest]
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    revision: i64,
}

/// Forgets history and waits until it is freed.
pub(crate) async fn run(options: &CompactOptions) -> Result<()> {
    let mut door = options.place.open().await?;
    let request = CompactRequest { revision: options.revision };
    let done = answer("forgetting history", door.client.compact(request)).await?;
    println!(
        "readable from revision {}; {} in use, {} before",
        done.compacted,
        human(done.bytes_after),
        human(done.bytes_before)
    );
    Ok(())
}
