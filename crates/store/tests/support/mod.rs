//! Real etcd members on the loopback address, and small words for stores. Processes end with their values.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod proxy;

use bytes::Bytes;
use futures::StreamExt;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;
use store::etcd::{Etcd, Options};
use store::{Commit, EventKind, Op, RangeOptions, Revision, Store, StoreError, Txn, TxnResult, WatchStream};
use tempfile::TempDir;

/// How long anything may take that should take no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the machine has etcd; says so when it has not.
pub(crate) fn has_etcd(test: &str) -> bool {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("skipped {test}: etcd is not installed; apt-get install etcd-server");
    }
    found.is_ok()
}

pub(crate) fn free_port() -> u16 {
    // Below the ports that connections get: one of those could be taken before the member listens.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A member of a cluster.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client: u16,
    peer: u16,
    dir: PathBuf,
    scheme: &'static str,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Member {
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.with_extension("log"));
        let log = log.unwrap();
        let child = Command::new("etcd")
            .args(&self.arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child.as_ref().unwrap())
    }

    /// As a power failure would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A paused process dies too.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Starts it again without anything that it knew.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.dir).unwrap();
        self.start();
    }

    pub(crate) fn pause(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::STOP).unwrap();
    }

    pub(crate) fn resume(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::CONT).unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of etcd.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) dir: TempDir,
}

impl Cluster {
    /// One member that elects itself at once.
    pub(crate) fn alone() -> Self {
        Self::with(1, "http", &[])
    }

    pub(crate) fn with(count: usize, scheme: &'static str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<_> = (0..count).map(|_| (free_port(), free_port())).collect();
        let peers = ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://127.0.0.1:{peer}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        // One alone has nobody to wait for.
        let election = if count == 1 { ["10", "100"] } else { ["50", "500"] };
        let member = |(at, (client, peer)): (usize, &(u16, u16))| {
            let data = dir.path().join(format!("m{at}"));
            let client_url = format!("{scheme}://127.0.0.1:{client}");
            let peer_url = format!("http://127.0.0.1:{peer}");
            let mut arguments: Vec<String> = [
                ("--name", format!("m{at}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", client_url.clone()),
                ("--advertise-client-urls", client_url),
                ("--listen-peer-urls", peer_url.clone()),
                ("--initial-advertise-peer-urls", peer_url),
                ("--initial-cluster", peers.clone()),
                ("--heartbeat-interval", election[0].to_owned()),
                ("--election-timeout", election[1].to_owned()),
            ]
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            Member {
                name: format!("m{at}"),
                client: *client,
                peer: *peer,
                dir: data,
                scheme,
                arguments,
                child: None,
            }
        };
        let mut members: Vec<_> = ports.iter().enumerate().map(member).collect();
        members.iter_mut().for_each(Member::start);
        Self { members, dir }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(Member::url).collect()
    }

    pub(crate) async fn connect(&self) -> Etcd {
        self.connect_with(|_| {}).await
    }

    pub(crate) async fn connect_with(&self, change: impl FnOnce(&mut Options)) -> Etcd {
        let mut options = Options::new(self.urls());
        change(&mut options);
        match Etcd::connect(options, PATIENCE).await {
            Ok(store) => store,
            Err(error) => panic!("{error}\n{}", self.logs()),
        }
    }

    /// The last lines of all members' logs.
    pub(crate) fn logs(&self) -> String {
        let tail = |member: &Member| {
            let log = std::fs::read_to_string(member.dir.with_extension("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(15).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("--- {}\n{}\n", member.name, lines.join("\n"))
        };
        self.members.iter().map(tail).collect()
    }

    /// The index of the leader, by asking the members themselves.
    pub(crate) async fn leader(&self) -> usize {
        use store::rpc::maintenance_client::MaintenanceClient;
        let ask = async {
            loop {
                for (at, member) in self.members.iter().enumerate() {
                    let Ok(mut client) = MaintenanceClient::connect(member.url()).await else { continue };
                    let Ok(status) = client.status(store::rpc::StatusRequest {}).await else { continue };
                    let status = status.into_inner();
                    let own = status.header.map_or(0, |header| header.member_id);
                    if status.leader != 0 && status.leader == own {
                        return at;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time(ask).await
    }
}

/// Waits for what should happen soon.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("did not happen in time")
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put { key: bytes(key), value: bytes(value), lease: 0 }
}

pub(crate) fn delete(key: &str) -> Op {
    Op::Delete { start: bytes(key), end: None }
}

pub(crate) fn delete_range(start: &str, end: &str) -> Op {
    Op::Delete { start: bytes(start), end: Some(bytes(end)) }
}

/// A store with few words.
#[derive(Clone)]
pub(crate) struct Words(pub(crate) Arc<dyn Store>);

impl Words {
    pub(crate) async fn txn(&self, ops: Vec<Op>) -> Result<TxnResult, StoreError> {
        self.0.txn(Txn { compares: Vec::new(), success: ops, failure: Vec::new() }).await
    }

    /// The revision of the write.
    pub(crate) async fn put(&self, key: &str, value: &str) -> Revision {
        self.txn(vec![put(key, value)]).await.unwrap().revision
    }

    pub(crate) async fn delete(&self, key: &str) -> Revision {
        self.txn(vec![delete(key)]).await.unwrap().revision
    }

    pub(crate) async fn get(&self, key: &str) -> Option<store::KeyValue> {
        self.0.range(bytes(key), None, RangeOptions::default()).await.unwrap().kvs.pop()
    }

    /// All keys with the prefix as `key=value`, at a revision.
    pub(crate) async fn dump(
        &self,
        prefix: &str,
        revision: Option<Revision>,
    ) -> Result<Vec<String>, StoreError> {
        let options = RangeOptions { revision, ..RangeOptions::default() };
        let (start, end) = covering(prefix);
        let range = self.0.range(start, end, options).await?;
        Ok(range.kvs.iter().map(|kv| format!("{}={}", text(&kv.key), text(&kv.value))).collect())
    }

    pub(crate) async fn watch(&self, prefix: &str, from: Option<Revision>, progress: bool) -> Watching {
        let (start, end) = covering(prefix);
        Watching(self.0.watch(start, end, from, progress).await.unwrap())
    }
}

/// All keys with a prefix.
pub(crate) fn covering(prefix: &str) -> (Bytes, Option<Bytes>) {
    let end = store::kv::prefix_end(prefix.as_bytes()).unwrap_or(Bytes::from_static(b"\0"));
    (bytes(prefix), Some(end))
}

/// A watch with few words.
pub(crate) struct Watching(pub(crate) WatchStream);

impl Watching {
    pub(crate) async fn item(&mut self) -> Option<Result<Commit, StoreError>> {
        in_time(self.0.next()).await
    }

    pub(crate) async fn commit(&mut self) -> Commit {
        self.item().await.expect("an item").expect("a commit")
    }

    /// The next commit as `revision: +key=value(previous) -key(previous)`; `revision: ` is progress.
    pub(crate) async fn line(&mut self) -> String {
        let commit = self.commit().await;
        let events = commit.events.iter().map(|event| {
            let before = event.previous.as_ref().map_or("-".to_owned(), |kv| text(&kv.value));
            let key = text(&event.kv.key);
            match event.kind {
                EventKind::Put => format!("+{key}={}({before})", text(&event.kv.value)),
                EventKind::Delete => format!("-{key}({before})"),
            }
        });
        format!("{}: {}", commit.revision, events.collect::<Vec<_>>().join(" "))
    }
}
