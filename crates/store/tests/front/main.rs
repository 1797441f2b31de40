//! The etcd front through its gRPC door: what etcd's clients see, word for word. (`etcdctl` itself drives it in the
//! tests of the `windlass` crate.)

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod keys;
mod leases;
mod limits;
mod others;
mod txns;
mod watches;

use component::Tasks;
use component::clock::FakeClock;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::embedded::{Embedded, Options};
use store::front::{Config, Front};
use store::rpc::kv_client::KvClient;
use store::rpc::lease_client::LeaseClient;
use store::rpc::maintenance_client::MaintenanceClient;
use store::rpc::watch_client::WatchClient;
use store::rpc::{DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A front on a store in a directory of its own.
struct Fixture {
    address: SocketAddr,
    channel: Channel,
    clock: Arc<FakeClock>,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
        let (clock, tasks) = (FakeClock::new(SystemTime::UNIX_EPOCH), Tasks::new());
        let mut config = Config { name: "one".to_owned(), ..Config::default() };
        change(&mut config);
        let front = Front::new(store, config, clock.clone(), tasks.clone());
        let address = front.serve(TcpListener::bind("127.0.0.1:0").unwrap(), None).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self { address, channel, clock, tasks, _dir: dir }
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// Writes a key; returns the revision.
    async fn put(&self, key: &str, value: &str) -> i64 {
        let answer = self.kv().put(put(key, value)).await.unwrap().into_inner();
        answer.header.unwrap().revision
    }

    async fn delete(&self, key: &str) -> i64 {
        let request = DeleteRangeRequest { key: bytes(key), ..Default::default() };
        self.kv().delete_range(request).await.unwrap().into_inner().header.unwrap().revision
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.kv().range(request).await.map(tonic::Response::into_inner)
    }

    /// `key=value` of all keys from `a` on.
    async fn all(&self) -> String {
        let range = self.range(from("a")).await.unwrap();
        lines(&range)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

/// The range from `key` to the end.
fn from(key: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes("\0"), ..Default::default() }
}

fn lines(range: &RangeResponse) -> String {
    let line = |kv: &store::rpc::KeyValue| format!("{}={}", text(&kv.key), text(&kv.value));
    range.kvs.iter().map(line).collect::<Vec<_>>().join(" ")
}

/// Waits for something that must come soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Code and message of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    format!("{:?}: {}", status.code(), status.message())
}
