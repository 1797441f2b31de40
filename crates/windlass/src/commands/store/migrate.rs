//! `windlass store migrate`: a stopped cluster's data from the embedded store to etcd, or back.
//!
//! Resource versions never go back. Into a directory, keys come with their revisions, and the store goes on after
//! etcd's. Into etcd, which counts by itself, the revision is raised above the old store's before anything is
//! written, and history is compacted after it: so who has seen something of the old store lists again, and gets later
//! versions than it has.

use super::place::Place;
use super::progress::{self, Progress, Unit};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use component::tls::{self, KeyPair};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::embedded::{Embedded, Import, Options};
use store::etcd::{self, Etcd};
use store::maintenance::{Frozen, Maintenance};
use store::{KeyValue, LeaseId, Op, Range, RangeOptions, Revision, Store, StoreError, Txn};

/// Written while a migration goes on, so that one that was interrupted is known.
const MARKER: &[u8] = b"/windlass.io/migration";

/// Requests at once.
const AT_ONCE: usize = 128;

/// etcd's own limit is 128 operations and 1.5 MiB.
const TXN_OPS: usize = 100;
const TXN_BYTES: usize = 1 << 20;

/// Keys that are read at once.
const PAGE: usize = 2000;

/// Raising the revision leaves as much history behind; it is compacted so often.
const COMPACT_EVERY: i64 = 100_000;

/// Raising the revision further would take hours.
const MOST_AHEAD: Revision = 5_000_000;

/// How long etcd gets to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `windlass store migrate`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store migrate --from /var/lib/windlass --to http://127.0.0.1:2379
  windlass store migrate --from https://10.0.0.1:2379,https://10.0.0.2:2379 --to /var/lib/windlass \\
      --cacert etcd-ca.crt --cert client.crt --key client.key

A place is the directory of a cluster or the URLs of etcd's members, separated by commas. Stop the cluster and every API
server first. The target must be empty; the source is left as it is. All keys and values are read back and compared.

Into etcd, each revision that the old store is ahead costs a small write: some thousands a second. A store that is more
than five million ahead (one that was restored is) is refused: 'snapshot save --format etcd' and 'etcdctl snapshot restore' keep the revisions as they are.")]
pub(crate) struct MigrateOptions {
    /// Where the data is
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where it shall be
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Authority that signed etcd's certificates, PEM
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Client certificate for etcd, PEM
    #[arg(long, value_name = "FILE", requires_all = ["key", "cacert"])]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

fn is_url(place: &str) -> bool {
    place.contains("://")
}

/// Moves the data.
pub(crate) async fn run(options: &MigrateOptions) -> Result<()> {
    match (is_url(&options.from), is_url(&options.to)) {
        (false, true) => to_etcd(options, Path::new(&options.from)).await,
        (true, false) => from_etcd(options, Path::new(&options.to)).await,
        (false, false) => bail!(
            "one of --from and --to must be etcd (http://... or https://...); to move a directory, copy it while the \
             cluster is stopped, or use 'windlass store snapshot'"
        ),
        (true, true) => {
            bail!("one of --from and --to must be a directory; between two etcds use 'etcdctl snapshot'")
        }
    }
}

async fn connect(options: &MigrateOptions, urls: &str) -> Result<Etcd> {
    let mut to = etcd::Options::new(urls.split(',').map(str::trim));
    if let Some(ca) = &options.cacert {
        let read =
            |file: &Path| std::fs::read(file).with_context(|| format!("failed to read {}", file.display()));
        let pair = match (&options.cert, &options.key) {
            (Some(certificate), Some(key)) => {
                Some(KeyPair { certificate: read(certificate)?, key: read(key)? })
            }
            _ => None,
        };
        let config = Arc::new(tls::client(&read(ca)?, pair.as_ref(), &["h2"])?);
        to.tls = Some(Arc::new(move || Ok(config.clone())));
    }
    progress::spin("connecting to etcd", Etcd::connect(to, PATIENCE))
        .await
        .map_err(|error| anyhow!("{error} (asked {urls}; --cacert, --cert and --key say how to speak TLS)"))
}

/// What two stores must agree on.
#[derive(Default)]
struct Fingerprint {
    hasher: Sha256,
    keys: u64,
}

impl Fingerprint {
    fn add(&mut self, kv: &KeyValue) {
        self.keys += 1;
        for bytes in [&kv.key, &kv.value] {
            self.hasher.update((bytes.len() as u64).to_le_bytes());
            self.hasher.update(bytes);
        }
        self.hasher.update(kv.lease.to_le_bytes());
    }

    fn finish(self) -> (u64, String) {
        let hash = self.hasher.finalize();
        (self.keys, hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Reads all keys of etcd at one revision, in order; returns it. `take` is told how many there are.
async fn read_all(etcd: &Etcd, what: &str, mut take: impl FnMut(KeyValue) -> Result<()>) -> Result<Revision> {
    let mut progress = Progress::new(what, Unit::Items);
    let (mut revision, mut start, mut done) = (None, Bytes::from_static(b"\0"), 0);
    loop {
        let options = RangeOptions { revision, limit: PAGE, ..RangeOptions::default() };
        let Range { revision: now, kvs, more, count } =
            etcd.range(start, Some(Bytes::from_static(b"\0")), options).await?;
        revision = revision.or(Some(now));
        let last = kvs.last().map(|kv| [&kv.key[..], b"\0"].concat());
        let rest = count.saturating_sub(kvs.len()) as u64;
        for kv in kvs {
            done += 1;
            take(kv)?;
        }
        progress.set(done, done + rest);
        match last.filter(|_| more) {
            Some(next) => start = next.into(),
            None => return Ok(revision.unwrap_or(now)),
        }
    }
}

async fn to_etcd(options: &MigrateOptions, data_dir: &Path) -> Result<()> {
    let place = Place { data_dir: data_dir.to_owned() };
    if place.running().await.is_some() {
        bail!("a cluster runs in {}; stop it first (Ctrl-C; pods keep running)", data_dir.display());
    }
    let dir = place.directory()?;
    let target = connect(options, &options.to).await?;
    expect_empty(&target, &options.to).await?;
    let opening = tokio::task::spawn_blocking(move || Embedded::open(&dir, Options::default()));
    let opened = progress::spin("opening the store", opening).await?;
    let source = opened.map_err(|error| place.explain(error))?;
    let state = source.freeze();
    let began = target.revision().await?;
    if state.revision() - began > MOST_AHEAD {
        bail!(
            "the store is at revision {} and etcd at {began}; counting that far would take hours, so nothing was changed; \
             run 'windlass store snapshot save --format etcd FILE --data-dir {}' and 'etcdctl snapshot restore FILE', which \
             keep the revisions",
            state.revision(),
            data_dir.display()
        );
    }
    raise(&target, state.revision()).await?;
    let before = target.revision().await?;
    copy(state.as_ref(), &target).await?;

    let mut theirs = Fingerprint::default();
    read_all(&target, "comparing", |kv| {
        if kv.key != MARKER {
            theirs.add(&kv);
        }
        Ok(())
    })
    .await?;
    let mut ours = Fingerprint::default();
    state.keys().for_each(|kv| ours.add(kv));
    let (keys, hash) = agree(ours, theirs)?;
    let unmark = Op::Delete { start: Bytes::from_static(MARKER), end: None };
    let after = target.txn(Txn { success: vec![unmark], ..Txn::default() }).await?.revision;
    // Nobody may go on from what the old store said.
    target.compact(after).await?;
    println!(
        "migrated {keys} keys to {}, compared by sha256 {hash}\nrevisions: the old store was at {}, etcd was at {began}; \
         the keys are now at {} to {after}, and history begins there\nthe directory {} is as it was; start the cluster \
         with 'windlass up --etcd-servers {}'",
        options.to,
        state.revision(),
        before + 1,
        place.layout().store().display(),
        options.to
    );
    Ok(())
}

/// Only a migration that was interrupted may have left something.
async fn expect_empty(target: &Etcd, place: &str) -> Result<()> {
    let some = RangeOptions { limit: 2, keys_only: true, ..RangeOptions::default() };
    let all = Bytes::from_static(b"\0");
    let found = target.range(all.clone(), Some(all), some).await?;
    let marked = target.range(Bytes::from_static(MARKER), None, RangeOptions::default()).await?.count > 0;
    match found.kvs.first() {
        None => Ok(()),
        Some(_) if marked => {
            println!("an earlier migration into {place} was interrupted; doing it again");
            Ok(())
        }
        Some(kv) => bail!(
            "{place} is not empty: it holds {} keys, {:?} first; nothing was changed; name an etcd without data",
            found.count,
            String::from_utf8_lossy(&kv.key)
        ),
    }
}

fn mark() -> Txn {
    let put = Op::Put { key: Bytes::from_static(MARKER), value: Bytes::new(), lease: 0 };
    Txn { success: vec![put], ..Txn::default() }
}

/// Writes until etcd has counted to `revision`.
async fn raise(target: &Etcd, revision: Revision) -> Result<()> {
    let mut progress = Progress::new("raising the revision", Unit::Items);
    let first = target.txn(mark()).await?.revision;
    let mut reached = first;
    while reached < revision {
        let step = (revision - reached).min(COMPACT_EVERY);
        let mut writes = futures::stream::iter(0..step).map(|_| target.txn(mark())).buffer_unordered(AT_ONCE);
        while let Some(written) = writes.next().await {
            reached = reached.max(written.context("run the command again to go on")?.revision);
            progress.set(
                u64::try_from(reached - first).unwrap_or(0),
                u64::try_from(revision - first).unwrap_or(0),
            );
        }
        drop(writes);
        match target.compact(reached).await {
            Ok(()) | Err(StoreError::Compacted { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes leases and keys.
async fn copy(state: &dyn Frozen, target: &Etcd) -> Result<()> {
    for (id, ttl) in state.leases() {
        match target.lease_grant(id, ttl).await {
            Ok(_) | Err(StoreError::LeaseExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let total = state.keys().count() as u64;
    let mut progress = Progress::new("writing", Unit::Items);
    let mut keys = state.keys().peekable();
    let batches = std::iter::from_fn(|| {
        let mut ops = Vec::new();
        let mut bytes = 0;
        while let Some(kv) = keys.peek() {
            let size = kv.key.len() + kv.value.len();
            if !ops.is_empty() && (ops.len() == TXN_OPS || bytes + size > TXN_BYTES) {
                break;
            }
            bytes += size;
            ops.push(Op::Put { key: kv.key.clone(), value: kv.value.clone(), lease: kv.lease });
            keys.next();
        }
        (!ops.is_empty()).then_some(ops)
    });
    // Put after put is the same however often it is done, so a repeated run is harmless.
    let batches: Vec<_> = batches.collect();
    let mut writes = futures::stream::iter(batches.into_iter().map(|ops| async move {
        let (count, first) = (ops.len() as u64, name(&ops));
        let written = target.txn(Txn { success: ops, ..Txn::default() }).await;
        written.map(|_| count).with_context(|| format!("failed to write {count} keys from {first}"))
    }))
    .buffer_unordered(8);
    let mut done = 0;
    while let Some(written) = writes.next().await {
        done += written?;
        progress.set(done, total);
    }
    Ok(())
}

fn name(ops: &[Op]) -> String {
    match ops.first() {
        Some(Op::Put { key, .. }) => String::from_utf8_lossy(key).into_owned(),
        _ => String::new(),
    }
}

fn agree(source: Fingerprint, target: Fingerprint) -> Result<(u64, String)> {
    let ((keys, hash), (found, other)) = (source.finish(), target.finish());
    if (keys, &hash) != (found, &other) {
        bail!(
            "the target is not what the source is: {found} keys with sha256 {other}, instead of {keys} with {hash}; is \
             someone else writing to it? Empty the target and run the command again"
        );
    }
    Ok((keys, hash))
}

async fn from_etcd(options: &MigrateOptions, data_dir: &Path) -> Result<()> {
    let place = Place { data_dir: data_dir.to_owned() };
    let dir = place.layout().store();
    if place.running().await.is_some() {
        bail!("a cluster runs in {}; stop it first (Ctrl-C; pods keep running)", data_dir.display());
    }
    Import::check_empty(&dir)?;
    let source = connect(options, &options.from).await?;
    let leases: Vec<(LeaseId, i64)> = progress::spin("reading leases", source.leases()).await?;
    let revision = source.revision().await?;
    let mut import = Import::begin(&dir, revision)?;
    for (id, ttl) in leases {
        import.lease(id, ttl)?;
    }
    let mut theirs = Fingerprint::default();
    let read = read_all(&source, "reading", |kv| {
        theirs.add(&kv);
        Ok(import.key(&kv)?)
    });
    let at = read.await?;
    let now = source.revision().await?;
    if at != revision || now != revision {
        bail!(
            "someone writes to {}: it went from revision {revision} to {now} meanwhile; nothing was changed; stop every \
             API server on it and run the command again",
            options.from
        );
    }
    import.finish()?;
    let path = dir.clone();
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, Options::default())).await?;
    let state = opened.context("failed to open what was just written")?.freeze();
    let mut ours = Fingerprint::default();
    state.keys().for_each(|kv| ours.add(kv));
    let (keys, hash) = agree(theirs, ours)?;
    println!(
        "migrated {keys} keys into {}, compared by sha256 {hash}\nrevisions: all keys keep theirs; the next one is {}, \
         history begins there\netcd is as it was; start the cluster with 'windlass up --data-dir {}'",
        dir.display(),
        revision + 1,
        data_dir.display()
    );
    Ok(())
}
