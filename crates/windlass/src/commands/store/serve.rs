//! `windlass store serve`: the embedded store as an etcd of one member. Flags are etcd's where etcd has them.

use anyhow::{Context, Result, bail};
use bootstrap::layout::Layout;
use clap::Args;
use component::Tasks;
use component::clock::SystemClock;
use component::tls::{self, KeyPair};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::embedded::{Embedded, Options};
use store::front::{API_VERSION, Config, Front};
use tokio::signal::unix::{SignalKind, signal};

/// What is as long as for ever, and can still be added to a time.
const EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// After a stop, time for requests to end.
const PATIENCE: Duration = Duration::from_secs(6);

/// Flags of `windlass store serve`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store serve --data-dir /var/lib/etcd        serve on http://127.0.0.1:2379
  etcdctl --endpoints 127.0.0.1:2379 endpoint status   ... and ask it
  windlass store serve --data-dir /var/lib/etcd --listen-client-urls https://0.0.0.0:2379 \\
      --cert-file server.crt --key-file server.key --trusted-ca-file clients-ca.crt

The store is kept in DIR/store, where a cluster keeps its own: so the data of a cluster that is stopped can be looked
into with etcdctl. Watches, leases, transactions, compaction, snapshots, defragmentation and alarms work as with etcd
3.5; users and roles, several members and compares over ranges of keys are refused. `etcdctl snapshot save` makes a file
that `windlass store snapshot restore` and `etcdctl snapshot restore` understand.

History is compacted by itself after --auto-compaction-retention, and earlier when it takes more than 256 MiB.")]
pub(crate) struct ServeOptions {
    /// The directory; created when missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where to listen, separated by commas: http://HOST:PORT, or https://HOST:PORT with the certificate flags
    #[arg(long, value_name = "URLS", value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    listen_client_urls: Vec<String>,
    /// URLs that the member list shows [default: those it listens on]
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    advertise_client_urls: Vec<String>,
    /// Name of the member
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,
    /// Certificate for https, PEM, with intermediates
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Admit only clients with a certificate of this authority, PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    trusted_ca_file: Option<PathBuf>,
    /// Insist on client certificates; needs --trusted-ca-file, which insists by itself
    #[arg(long, requires = "trusted_ca_file")]
    client_cert_auth: bool,
    /// Bytes of all keys above which writes are refused and an alarm is raised; 0 is no limit
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    quota_backend_bytes: u64,
    /// Age at which history is compacted (such as 5m or 1h); 0 leaves it to the clients
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    auto_compaction_retention: Duration,
    /// Operations of a transaction at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_txn_ops: usize,
    /// Bytes of a request at most
    #[arg(long, value_name = "BYTES", default_value_t = 3 << 19)]
    max_request_bytes: usize,
    /// Requests and streams at once on one connection at most
    #[arg(long, value_name = "N", default_value_t = 1 << 16)]
    max_concurrent_streams: u32,
    /// How often a watch that wants progress and sees no changes hears of it
    #[arg(
        long,
        alias = "experimental-watch-progress-notify-interval",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = duration
    )]
    watch_progress_notify_interval: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write something like 30s, 5m or 1h");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "" if number == 0 => 0,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Serves until it is told to stop.
pub(crate) fn run(options: &ServeOptions) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: &ServeOptions) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listeners = listen(options)?;
    let tls = encryption(options)?.map(Arc::new);
    if tls.is_none() && listeners.iter().any(|(_, is_secure)| *is_secure) {
        bail!("an https URL needs a certificate; give --cert-file and --key-file");
    }
    let dir = Layout::new(&options.data_dir).store();
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    let settings = Options {
        quota: options.quota_backend_bytes,
        history: Some(options.auto_compaction_retention).filter(|age| !age.is_zero()).unwrap_or(EVER),
        // Clients of etcd learn of progress by asking; there may be thousands of watches.
        progress_interval: Duration::from_millis(50),
        ..Options::default()
    };
    let store = tokio::task::spawn_blocking(move || Embedded::open(&dir, settings)).await?;
    let store = Arc::new(store.context("failed to open the store")?);
    let urls = listeners.iter().map(|(listener, is_secure)| Ok(url(listener.local_addr()?, *is_secure)));
    let urls = urls.collect::<Result<Vec<_>>>()?;
    let shown = if options.advertise_client_urls.is_empty() { &urls } else { &options.advertise_client_urls };
    let config = Config {
        name: options.name.clone(),
        client_urls: shown.clone(),
        max_request_bytes: options.max_request_bytes,
        max_txn_ops: options.max_txn_ops,
        max_streams: options.max_concurrent_streams,
        progress_interval: options.watch_progress_notify_interval,
    };
    let tasks = Tasks::new();
    let front = Front::new(store.clone(), config, SystemClock::shared(), tasks.clone());
    for (listener, is_secure) in listeners {
        front.serve(listener, tls.clone().filter(|_| is_secure)).context("failed to listen")?;
    }
    // The other verbs of `windlass store` ask here.
    let socket = Layout::new(&options.data_dir).store_socket();
    let kept = store::admin::serve(&socket, store.clone(), &tasks).await;
    kept.with_context(|| format!("failed to listen on {}; use a shorter --data-dir", socket.display()))?;
    println!("serving {} as etcd {API_VERSION} on {}", options.data_dir.display(), urls.join(", "));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tasks.stop_and_wait(PATIENCE).await;
    drop(front);
    // Ends its threads, which takes as long as the batch being written.
    tokio::task::spawn_blocking(move || drop(store)).await?;
    Ok(())
}

/// The listeners, and whether they are to be encrypted.
fn listen(options: &ServeOptions) -> Result<Vec<(TcpListener, bool)>> {
    let one = |text: &String| {
        let (address, is_secure) = parse(text)?;
        let listener = TcpListener::bind(address)
            .with_context(|| format!("failed to listen on {text}; is another process using the port?"))?;
        Ok((listener, is_secure))
    };
    options.listen_client_urls.iter().map(one).collect()
}

fn parse(url: &str) -> Result<(SocketAddr, bool)> {
    let (host, is_secure) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(host), _) => (host, false),
        (_, Some(host)) => (host, true),
        _ => bail!("{url:?} cannot be listened on; write http://HOST:PORT or https://HOST:PORT"),
    };
    let host = host.trim_end_matches('/');
    let mut addresses = host
        .to_socket_addrs()
        .with_context(|| format!("{url:?} does not name an address and a port; write http://HOST:PORT"))?;
    let address = addresses.next().with_context(|| format!("{host} has no address"))?;
    Ok((address, is_secure))
}

fn url(address: SocketAddr, is_secure: bool) -> String {
    format!("{}://{address}", if is_secure { "https" } else { "http" })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

fn encryption(options: &ServeOptions) -> Result<Option<rustls::ServerConfig>> {
    let (Some(certificate), Some(key)) = (&options.cert_file, &options.key_file) else { return Ok(None) };
    let pair = KeyPair { certificate: read(certificate)?, key: read(key)? };
    // As in etcd, an authority for clients means that they have to show a certificate of it.
    Ok(Some(match &options.trusted_ca_file {
        Some(ca) => tls::server_for_known_clients(&pair, &read(ca)?)?,
        None => tls::server(&pair, None)?,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(parse("http://127.0.0.1:2379").unwrap(), ("127.0.0.1:2379".parse().unwrap(), false));
        assert_eq!(parse("https://[::1]:1/").unwrap(), ("[::1]:1".parse().unwrap(), true));
        assert!(parse("unix://etcd.sock").is_err());
        assert!(parse("http://127.0.0.1").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("5").is_err());
        assert!(duration("99999999999999999h").is_err());
    }
}
