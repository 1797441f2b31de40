//! `etcd`: puts, ranges, point reads and watches on any endpoint that speaks etcd's v3 API: an etcd, or
//! `windlass store serve`. The same client for both; run both on the same disk, one after the other.

use crate::report::{Latencies, Report};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::rpc::kv_client::KvClient;
use store::rpc::watch_client::WatchClient;
use store::rpc::watch_request::RequestUnion;
use store::rpc::{DeleteRangeRequest, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

/// Everything happens below this prefix, and goes at the end.
const PREFIX: &str = "/windlass-bench/";

/// A watcher that hears nothing for so long has lost events.
const SILENCE: Duration = Duration::from_secs(30);

/// Every so many events of a watcher its latency is kept.
const SAMPLE: usize = 16;

/// Largest message that is taken.
const MESSAGE: usize = 256 << 20;

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where etcd's API is served
    #[arg(long, default_value = "http://127.0.0.1:2379", value_name = "URL")]
    endpoint: String,
    /// Connections that the clients share
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Puts per client, at least 4,000 in a pass
    #[arg(long, default_value_t = 200)]
    puts: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024)]
    value: usize,
    /// Keys of the range
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Watchers
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Events per second that each of them sees
    #[arg(long, default_value_t = 1000)]
    rate: usize,
    /// Seconds of that
    #[arg(long, default_value_t = 5)]
    seconds: usize,
    /// Passes to run: put, range, get, watch
    #[arg(long, value_delimiter = ',', default_value = "put,range,get,watch")]
    passes: Vec<String>,
    /// Programs whose CPU time is told per operation
    #[arg(long, value_delimiter = ',', value_name = "PROGRAM")]
    servers: Vec<String>,
}

/// The connections that all clients share.
#[derive(Clone)]
struct Connections(Arc<Vec<Channel>>);

impl Connections {
    async fn open(endpoint: &str, count: usize) -> Result<Self> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())?
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .tcp_nodelay(true);
        let mut channels = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let connected = endpoint.connect().await;
            channels.push(connected.with_context(|| format!("failed to connect to {}", endpoint.uri()))?);
        }
        Ok(Self(Arc::new(channels)))
    }

    fn channel(&self, client: usize) -> Channel {
        self.0[client % self.0.len()].clone()
    }

    fn kv(&self, client: usize) -> KvClient<Channel> {
        KvClient::new(self.channel(client)).max_decoding_message_size(MESSAGE)
    }
}

/// Runs the scenario.
pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let connections = Connections::open(&options.endpoint, options.connections).await?;
    report.watch_servers(&options.servers);
    let outcome = measure(options, &connections, report).await;
    let prefix = Bytes::from_static(PREFIX.as_bytes());
    let end = store::kv::prefix_end(&prefix).unwrap_or_default();
    let all = DeleteRangeRequest { key: prefix, range_end: end, prev_kv: false };
    connections.kv(0).delete_range(all).await.context("failed to remove what was written")?;
    outcome
}

async fn measure(options: &Options, connections: &Connections, report: &mut Report) -> Result<()> {
    let wanted = |pass: &str| options.passes.iter().any(|one| one == pass);
    if wanted("put") {
        for clients in [1, 16, 256] {
            puts(options, clients, connections, report).await?;
        }
    }
    if wanted("range") || wanted("get") {
        fill(options, connections).await?;
    }
    if wanted("range") {
        ranges(options, connections, report).await?;
    }
    if wanted("get") {
        for clients in [1, 16, 256] {
            gets(options, clients, connections, report).await?;
        }
    }
    if wanted("watch") {
        watches(options, connections, report).await?;
    }
    Ok(())
}

fn key(pass: &str, number: usize) -> Bytes {
    format!("{PREFIX}{pass}/{number:08}").into()
}

/// Calls `operation` `count` times from each of `clients` clients.
async fn load<F, Fut>(clients: usize, count: usize, operation: F) -> Result<(Duration, Latencies)>
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for client in 0..clients {
        let operation = operation.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(count);
            for number in 0..count {
                let start = Instant::now();
                operation(client, number).await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.0.extend(done??);
    }
    Ok((start.elapsed(), latencies))
}

async fn puts(
    options: &Options,
    clients: usize,
    connections: &Connections,
    report: &mut Report,
) -> Result<()> {
    let count = options.puts.max(4000 / clients);
    let value = Bytes::from(vec![b'v'; options.value]);
    let connections = connections.clone();
    report.begin();
    let (elapsed, latencies) = load(clients, count, move |client, number| {
        let mut kv = connections.kv(client);
        let request = PutRequest {
            key: key("put", client * count + number),
            value: value.clone(),
            ..PutRequest::default()
        };
        async move { Ok(kv.put(request).await.map(|_| ())?) }
    })
    .await?;
    report.operations(&format!("put {} B, {clients} clients", options.value), elapsed, latencies);
    Ok(())
}

/// Writes the keys to read.
async fn fill(options: &Options, connections: &Connections) -> Result<()> {
    let value = Bytes::from(vec![b'v'; options.value]);
    let connections = connections.clone();
    let clients = 64;
    let count = options.keys.div_ceil(clients);
    let keys = options.keys;
    load(clients, count, move |client, number| {
        let mut kv = connections.kv(client);
        let number = client * count + number;
        let request = PutRequest { key: key("read", number), value: value.clone(), ..PutRequest::default() };
        async move {
            if number < keys {
                kv.put(request).await?;
            }
            Ok(())
        }
    })
    .await
    .map(|_| ())
}

async fn ranges(options: &Options, connections: &Connections, report: &mut Report) -> Result<()> {
    let connections = connections.clone();
    let expected = options.keys;
    report.begin();
    let (elapsed, latencies) = load(1, 50, move |client, _| {
        let mut kv = connections.kv(client);
        let start = Bytes::from(format!("{PREFIX}read/"));
        let range_end = store::kv::prefix_end(&start).unwrap_or_default();
        async move {
            let answer = kv.range(RangeRequest { key: start, range_end, ..RangeRequest::default() }).await?;
            ensure!(answer.into_inner().kvs.len() == expected, "keys are missing");
            Ok(())
        }
    })
    .await?;
    report.operations(&format!("range of {} keys", options.keys), elapsed, latencies);
    Ok(())
}

async fn gets(
    options: &Options,
    clients: usize,
    connections: &Connections,
    report: &mut Report,
) -> Result<()> {
    let connections = connections.clone();
    let keys = options.keys;
    let count = (20_000 / clients).max(100);
    report.begin();
    let (elapsed, latencies) = load(clients, count, move |client, number| {
        let mut kv = connections.kv(client);
        let key = key("read", (client * 7919 + number * 104_729) % keys);
        async move {
            let answer = kv.range(RangeRequest { key, ..RangeRequest::default() }).await?;
            ensure!(answer.into_inner().kvs.len() == 1, "a key is missing");
            Ok(())
        }
    })
    .await?;
    report.operations(&format!("get, {clients} clients"), elapsed, latencies);
    Ok(())
}

/// Latencies run from the moment a put is sent to the moment that a watcher has its event.
async fn watches(options: &Options, connections: &Connections, report: &mut Report) -> Result<()> {
    let expected = options.rate * options.seconds;
    let epoch = Instant::now();
    let watching = Arc::new(Barrier::new(options.watchers + 1));
    let mut tasks = JoinSet::new();
    for watcher in 0..options.watchers {
        let (connections, watching) = (connections.clone(), watching.clone());
        tasks.spawn(async move { watch(watcher, expected, epoch, &connections, &watching).await });
    }
    watching.wait().await;
    report.begin();
    let start = Instant::now();
    write_at_rate(options, epoch, connections).await?;
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.0.extend(done??);
    }
    let elapsed = start.elapsed();
    let what = format!("events to {} watchers, 1 of {SAMPLE}", options.watchers);
    report.operations(&what, elapsed, latencies);
    Ok(())
}

/// Puts evenly spread over time, however long each takes.
async fn write_at_rate(options: &Options, epoch: Instant, connections: &Connections) -> Result<()> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / u32::try_from(options.rate.max(1))?);
    let mut puts = JoinSet::new();
    for number in 0..options.rate * options.seconds {
        pace.tick().await;
        let mut kv = connections.kv(number);
        let sent = u64::try_from(epoch.elapsed().as_nanos())?;
        let request = PutRequest {
            key: key("watch", number % 100),
            value: Bytes::copy_from_slice(&sent.to_be_bytes()),
            ..PutRequest::default()
        };
        puts.spawn(async move { kv.put(request).await });
        while let Some(done) = puts.try_join_next() {
            done??;
        }
    }
    while let Some(done) = puts.join_next().await {
        done??;
    }
    Ok(())
}

async fn watch(
    watcher: usize,
    expected: usize,
    epoch: Instant,
    connections: &Connections,
    watching: &Barrier,
) -> Result<Vec<Duration>> {
    let start = Bytes::from(format!("{PREFIX}watch/"));
    let range_end = store::kv::prefix_end(&start).unwrap_or_default();
    let create = WatchCreateRequest { key: start, range_end, ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = futures::stream::iter([create]).chain(futures::stream::pending());
    let mut client = WatchClient::new(connections.channel(watcher)).max_decoding_message_size(MESSAGE);
    let opened = client.watch(requests).await;
    let mut answers = match opened {
        Ok(answers) => answers.into_inner(),
        Err(error) => {
            watching.wait().await;
            return Err(error.into());
        }
    };
    let created = answers.message().await;
    watching.wait().await;
    ensure!(created?.is_some_and(|answer| answer.created), "a watch was refused");
    let mut seen = 0;
    let mut latencies = Vec::with_capacity(expected / SAMPLE + 1);
    while seen < expected {
        let answer = tokio::time::timeout(SILENCE, answers.message()).await;
        let answer = answer.context("a watcher heard nothing")??.context("a watch ended early")?;
        let now = u64::try_from(epoch.elapsed().as_nanos())?;
        for event in &answer.events {
            let number = seen;
            seen += 1;
            let value = event.kv.as_ref().and_then(|kv| kv.value[..].try_into().ok());
            if let Some(sent) = value.filter(|_| number.is_multiple_of(SAMPLE)) {
                latencies.push(Duration::from_nanos(now.saturating_sub(u64::from_be_bytes(sent))));
            }
        }
    }
    Ok(latencies)
}
