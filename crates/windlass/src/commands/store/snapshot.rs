//! `windlass store snapshot`: save, restore, status.

use super::place::{Place, new_file, words};
use super::progress::{Progress, Unit, human};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::admin::rpc::SnapshotRequest;
use store::embedded::{self, Import, Report};
use store::{StoreError, bolt};

/// Bytes between two syncs of the file: a long one at the end would hold up the store's own.
const SYNC_EVERY: usize = 8 << 20;

/// What restored revisions are raised by, so that no client takes what comes for what it has seen.
const AHEAD: i64 = 1_000_000_000;

/// Verbs of `windlass store snapshot`.
#[derive(Subcommand)]
pub(crate) enum SnapshotVerb {
    /// Save all keys into a new file, while the cluster goes on
    Save(SaveOptions),
    /// Make the store of a stopped cluster of a snapshot
    Restore(RestoreOptions),
    /// Verify a snapshot and say what it holds
    Status(StatusOptions),
}

/// Flags of `windlass store snapshot save`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store snapshot save backup.snapshot
  windlass store snapshot save --format etcd backup.db         for 'etcdctl snapshot restore'

The file holds the keys as they are when the verb begins; writes go on meanwhile. It ends in a SHA-256 of its content
and is read back and verified before the verb succeeds.")]
pub(crate) struct SaveOptions {
    /// The new file
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Whose snapshot to make
    #[arg(long, value_name = "FORMAT", default_value = "windlass")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Windlass,
    Etcd,
}

/// Flags of `windlass store snapshot restore`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store snapshot restore backup.snapshot --data-dir /var/lib/windlass
  windlass store snapshot restore etcd.db                      a snapshot of 'etcdctl snapshot save'
  windlass store snapshot restore backup.snapshot --bump-revision 0

The cluster must be stopped and DIR/store be empty or missing: move the old one away first. Revisions are raised, because
clients may have seen later ones than the snapshot has; they list everything again instead of mistaking new changes
for those. 0 keeps the snapshot's, for a cluster that nobody else knows.")]
pub(crate) struct RestoreOptions {
    /// The snapshot
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// How far to raise the revision above the snapshot's
    #[arg(long, value_name = "N", default_value_t = AHEAD)]
    bump_revision: i64,
}

/// Flags of `windlass store snapshot status`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store snapshot status backup.snapshot
  windlass store snapshot status backup.snapshot -o json")]
pub(crate) struct StatusOptions {
    /// The snapshot
    file: PathBuf,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs a verb.
pub(crate) fn run(verb: &SnapshotVerb) -> Result<()> {
    match verb {
        SnapshotVerb::Save(options) => super::wait_for(save(options)),
        SnapshotVerb::Restore(options) => super::wait_for(restore(options)),
        SnapshotVerb::Status(options) => status(options),
    }
}

/// Removes what is incomplete when dropped.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After success it has another name.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn save(options: &SaveOptions) -> Result<()> {
    if options.file.exists() {
        bail!("{} is there already; name a new file", options.file.display());
    }
    let start = Instant::now();
    let mut door = options.place.open().await?;
    let mut beside = options.file.clone().into_os_string();
    beside.push(".part");
    // Left by an attempt that was killed.
    let _ = std::fs::remove_file(&beside);
    let mut file = new_file(Path::new(&beside))?;
    let part = Part(beside.into());
    let failed = || format!("failed to write {}; free space on its disk, or name another", part.0.display());
    let mut progress = Progress::new("saving", Unit::Bytes);
    let request = SnapshotRequest { etcd: options.format == Format::Etcd };
    let mut pieces = door.client.snapshot(request).await.map_err(|status| words(&status))?.into_inner();
    let (mut done, mut unsynced, mut expected) = (0, 0, 0);
    while let Some(piece) = pieces.message().await.map_err(|status| words(&status))? {
        expected = piece.expected.max(expected);
        file.write_all(&piece.data).with_context(failed)?;
        done += piece.data.len() as u64;
        unsynced += piece.data.len();
        if unsynced >= SYNC_EVERY {
            file.sync_data().with_context(failed)?;
            unsynced = 0;
        }
        progress.set(done, expected);
    }
    file.sync_all().with_context(failed)?;
    drop((file, progress));
    let found = look(&part.0).context("the snapshot that was just written is not good; save it again")?;
    std::fs::rename(&part.0, &options.file).with_context(failed)?;
    if let Some(dir) = options.file.parent() {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).with_context(failed)?;
    }
    println!(
        "saved {}: {} keys at revision {}, {} in {:.1} s, sha256 {}",
        options.file.display(),
        found.report.keys,
        found.report.revision,
        human(found.report.bytes),
        start.elapsed().as_secs_f64(),
        found.hash
    );
    Ok(())
}

/// What a snapshot is.
struct Found {
    format: Format,
    report: Report,
    hash: String,
}

/// The store's words about a damaged file speak of directories.
fn damaged(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Corrupt { file, offset, why } => {
            anyhow::anyhow!(
                "{file} is not good: {why} (offset {offset}); nothing was changed; use another snapshot"
            )
        }
        other => other.into(),
    }
}

/// Verifies a snapshot of either format.
fn look(file: &Path) -> Result<Found> {
    let is_etcds = bolt::is_bolt(file)
        .with_context(|| format!("failed to read {}; name a file that exists", file.display()))?;
    let mut progress = Progress::new("verifying", Unit::Bytes);
    let summary = embedded::summarize(file, |done, all| progress.set(done, all)).map_err(damaged)?;
    let hash = summary.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let format = if is_etcds { Format::Etcd } else { Format::Windlass };
    Ok(Found { format, report: summary.report, hash })
}

fn status(options: &StatusOptions) -> Result<()> {
    let Found { format, report, hash } = look(&options.file)?;
    let format = if format == Format::Etcd { "etcd" } else { "windlass" };
    match options.output {
        Output::Text => {
            println!("format     {format}\nrevision   {}\nkeys       {}", report.revision, report.keys);
            println!("leases     {}\nsize       {}\nsha256     {hash}", report.leases, human(report.bytes));
        }
        Output::Json => println!(
            "{:#}",
            serde_json::json!({
                "format": format,
                "revision": report.revision,
                "keys": report.keys,
                "leases": report.leases,
                "size": report.bytes,
                "sha256": hash,
            })
        ),
    }
    Ok(())
}

async fn restore(options: &RestoreOptions) -> Result<()> {
    let dir = options.place.layout().store();
    if options.place.running().await.is_some() {
        bail!(
            "a cluster runs in {}; stop it, move {} away, and restore then",
            options.place.data_dir.display(),
            dir.display()
        );
    }
    if !options.file.is_file() {
        bail!("there is no file {}; name the snapshot to restore", options.file.display());
    }
    if options.bump_revision < 0 {
        bail!("--bump-revision must not be negative: resource versions never go back");
    }
    Import::check_empty(&dir)?;
    let (file, ahead) = (options.file.clone(), options.bump_revision);
    let into = dir.clone();
    let restored = tokio::task::spawn_blocking(move || fill(&file, &into, ahead)).await??;
    println!(
        "restored {} keys into {}; the next revision is {}; start the cluster with 'windlass up'",
        restored.keys,
        dir.display(),
        restored.revision + 1
    );
    Ok(())
}

fn fill(file: &Path, dir: &Path, ahead: i64) -> Result<Report> {
    let mut progress = Progress::new("restoring", Unit::Bytes);
    embedded::restore_ahead(file, dir, ahead, |done, all| progress.set(done, all)).map_err(damaged)
}
