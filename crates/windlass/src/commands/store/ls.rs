//! `windlass store ls`.

use super::place::{Place, words};
use anyhow::{Result, bail};
use clap::Args;
use std::io::Write;
use store::admin::client::Client;
use store::admin::rpc::{KeyValue, RangeRequest, RangeResponse};

/// Flags of `windlass store ls`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store ls                                  all keys
  windlass store ls /registry/pods/                  those of pods
  windlass store ls -l /registry/secrets/kube-system/
  windlass store ls --count /registry/events/
  windlass store ls --revision 1200 /registry/       as it was, if history still has it")]
pub(crate) struct LsOptions {
    /// What the keys start with
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    place: Place,
    /// Print revisions and sizes too
    #[arg(short, long)]
    long: bool,
    /// Print only how many there are
    #[arg(long, conflicts_with = "long")]
    count: bool,
    /// At this revision [default: the latest]
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    revision: i64,
    /// At most so many keys; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u64,
}

/// Lists keys. That there are none is no failure.
pub(crate) async fn run(options: &LsOptions) -> Result<()> {
    let mut door = options.place.open().await?;
    let mut request = range(options.prefix.as_bytes(), true, options.revision);
    // Sizes need values; a count needs none.
    request.keys_only = !options.long;
    request.limit = if options.count { 1 } else { options.limit };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if options.long {
        writeln!(
            out,
            "{:>12} {:>12} {:>8} {:>10} {:>16} KEY",
            "CREATED", "CHANGED", "VERSION", "BYTES", "LEASE"
        )?;
    }
    let mut count = 0;
    each(&mut door.client, request, |part| {
        count = part.count;
        for kv in part.kvs.iter().filter(|_| !options.count) {
            let key = String::from_utf8_lossy(&kv.key);
            match options.long {
                true => line(&mut out, kv, &key)?,
                false => writeln!(out, "{key}")?,
            }
        }
        Ok(())
    })
    .await?;
    if options.count {
        writeln!(out, "{count}")?;
    }
    Ok(out.flush()?)
}

fn line(out: &mut impl Write, kv: &KeyValue, key: &str) -> std::io::Result<()> {
    let lease = if kv.lease == 0 { "-".to_owned() } else { format!("{:x}", kv.lease) };
    writeln!(
        out,
        "{:>12} {:>12} {:>8} {:>10} {lease:>16} {key}",
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.value.len()
    )
}

/// One key, or all that start with it.
pub(super) fn range(key: &[u8], is_prefix: bool, revision: i64) -> RangeRequest {
    let end = match is_prefix {
        true => store::kv::prefix_end(key).map_or_else(|| vec![0], |end| end.to_vec()),
        false => Vec::new(),
    };
    // The empty key cannot exist: it stands for the first.
    let key = if key.is_empty() { vec![0] } else { key.to_vec() };
    RangeRequest { key: key.into(), range_end: end.into(), revision, limit: 0, keys_only: false }
}

/// Hands the answer over piece by piece.
pub(super) async fn each(
    client: &mut Client,
    request: RangeRequest,
    mut take: impl FnMut(RangeResponse) -> Result<()>,
) -> Result<()> {
    let explain = |status: tonic::Status| match status.code() {
        tonic::Code::OutOfRange => {
            anyhow::anyhow!("{}; 'windlass store status' says which revisions can be read", status.message())
        }
        _ => words(&status),
    };
    let mut parts = client.range(request).await.map_err(explain)?.into_inner();
    let mut has_answer = false;
    while let Some(part) = parts.message().await.map_err(explain)? {
        has_answer = true;
        take(part)?;
    }
    if !has_answer {
        bail!("the cluster went away meanwhile; run the command again");
    }
    Ok(())
}
