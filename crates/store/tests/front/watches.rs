//! Watches: ids, filters, the past, progress, fragments, ends.

use super::*;
use store::rpc::event::EventType;
use store::rpc::watch_create_request::FilterType;
use store::rpc::watch_request::RequestUnion;
use store::rpc::{
    CompactionRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    WatchResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A stream of watches.
struct Watches {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Watches {
    async fn new(fixture: &Fixture) -> Self {
        let (requests, outgoing) = mpsc::channel(16);
        let answers = fixture.watch().watch(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn send(&self, union: RequestUnion) {
        self.requests.send(WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(request)).await;
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        answer
    }

    async fn next(&mut self) -> WatchResponse {
        soon(self.answers.message()).await.unwrap().expect("not the end")
    }

    /// The events of the next answer: `id: +key=value(previous)@revision -key@revision`.
    async fn events(&mut self) -> String {
        let answer = self.next().await;
        assert!(!answer.events.is_empty(), "{answer:?}");
        let events: Vec<_> = answer.events.iter().map(describe).collect();
        format!("{}: {}", answer.watch_id, events.join(" "))
    }
}

fn describe(event: &store::rpc::Event) -> String {
    let kv = event.kv.as_ref().unwrap();
    let previous = event.prev_kv.as_ref().map_or(String::new(), |kv| format!("({})", text(&kv.value)));
    match event.r#type() {
        EventType::Put => format!("+{}={}{previous}@{}", text(&kv.key), text(&kv.value), kv.mod_revision),
        EventType::Delete => format!("-{}{previous}@{}", text(&kv.key), kv.mod_revision),
    }
}

fn prefix(key: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: bytes(key),
        range_end: store::kv::prefix_end(key.as_bytes()).unwrap(),
        ..Default::default()
    }
}

#[tokio::test]
async fn several_on_one_stream() {
    let fixture = Fixture::new().await;
    let mut watches = Watches::new(&fixture).await;
    assert_eq!(watches.create(prefix("a")).await.watch_id, 0, "etcd counts from 0");
    assert_eq!(watches.create(WatchCreateRequest { watch_id: 7, ..prefix("b") }).await.watch_id, 7);
    assert_eq!(watches.create(prefix("c")).await.watch_id, 1);
    fixture.put("a1", "x").await;
    assert_eq!(watches.events().await, "0: +a1=x@2");
    fixture.put("b1", "y").await;
    assert_eq!(watches.events().await, "7: +b1=y@3");
    fixture.delete("a1").await;
    assert_eq!(watches.events().await, "0: -a1@4");

    watches.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })).await;
    let cancelled = watches.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 0 && cancelled.cancel_reason.is_empty());
    fixture.put("a2", "x").await;
    fixture.put("c2", "z").await;
    assert_eq!(watches.events().await, "1: +c2=z@6", "the first is gone");

    let twice = watches.create(WatchCreateRequest { watch_id: 7, ..prefix("b") }).await;
    assert!(twice.canceled && twice.watch_id == -1);
    assert_eq!(twice.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    let empty = WatchCreateRequest { key: bytes("b"), range_end: bytes("a"), ..Default::default() };
    assert_eq!(watches.create(empty).await.cancel_reason, "mvcc: watcher range is empty");
}

#[tokio::test]
async fn filters_and_previous_values() {
    let fixture = Fixture::new().await;
    let mut watches = Watches::new(&fixture).await;
    let no_puts = vec![FilterType::Noput.into()];
    watches.create(WatchCreateRequest { filters: no_puts, prev_kv: true, ..prefix("k") }).await;
    fixture.put("k", "1").await;
    fixture.delete("k").await;
    assert_eq!(watches.events().await, "0: -k(1)@3");
    let mut watches = Watches::new(&fixture).await;
    let no_deletes = vec![FilterType::Nodelete.into()];
    watches.create(WatchCreateRequest { filters: no_deletes, ..prefix("k") }).await;
    fixture.put("k", "2").await;
    assert_eq!(watches.events().await, "0: +k=2@4");
    fixture.delete("k").await;
    fixture.put("k", "3").await;
    assert_eq!(watches.events().await, "0: +k=3@6");
}

#[tokio::test]
async fn from_the_past() {
    let fixture = Fixture::new().await;
    for value in ["1", "2", "3"] {
        fixture.put("k", value).await;
    }
    let mut watches = Watches::new(&fixture).await;
    watches.create(WatchCreateRequest { start_revision: 3, prev_kv: true, ..prefix("k") }).await;
    assert_eq!(watches.events().await, "0: +k=2(1)@3 +k=3(2)@4");

    fixture.kv().compact(CompactionRequest { revision: 4, physical: true }).await.unwrap();
    let created = watches.create(WatchCreateRequest { start_revision: 2, ..prefix("k") }).await;
    assert!(!created.canceled);
    let canceled = watches.next().await;
    assert!(canceled.canceled && canceled.watch_id == created.watch_id);
    assert_eq!(canceled.compact_revision, 4);
    // The oldest revision that is left.
    watches.create(WatchCreateRequest { start_revision: 4, ..prefix("k") }).await;
    let events = watches.events().await;
    assert!(events.ends_with("+k=3@4"), "{events}");
    // One that is still to come.
    let mut watches = Watches::new(&fixture).await;
    watches.create(WatchCreateRequest { start_revision: 6, ..prefix("k") }).await;
    fixture.put("k", "4").await;
    fixture.put("k", "5").await;
    assert_eq!(watches.events().await, "0: +k=5@6");
}

#[tokio::test]
async fn progress_when_asked() {
    let fixture = Fixture::new().await;
    let mut watches = Watches::new(&fixture).await;
    watches.create(prefix("k")).await;
    watches.create(prefix("other")).await;
    fixture.put("k", "1").await;
    let last = fixture.put("elsewhere", "1").await;
    watches.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    assert_eq!(watches.events().await, "0: +k=1@2", "events come before the progress that covers them");
    let progress = watches.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, last));
    assert!(progress.events.is_empty() && !progress.created && !progress.canceled);
}

#[tokio::test]
async fn progress_from_time_to_time() {
    let fixture = Fixture::with(|config| config.progress_interval = Duration::from_secs(5)).await;
    let mut watches = Watches::new(&fixture).await;
    watches.create(WatchCreateRequest { progress_notify: true, ..prefix("k") }).await;
    watches.create(prefix("k")).await;
    let elsewhere = fixture.put("elsewhere", "1").await;
    // Once it is known how far the watches have seen.
    watches.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    assert_eq!(watches.next().await.header.unwrap().revision, elsewhere);
    // The first round only finds that the watches are new.
    for _ in 0..2 {
        soon(async {
            while fixture.clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        fixture.clock.advance(Duration::from_secs(5));
    }
    let progress = watches.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (0, elsewhere));
    assert!(progress.events.is_empty());
}

#[tokio::test]
async fn large_answers_come_in_fragments() {
    let fixture = Fixture::with(|config| config.max_request_bytes = 64 << 10).await;
    let value = "v".repeat(20_000);
    for key in ["k1", "k2", "k3", "k4", "k5", "k6"] {
        fixture.put(key, &value).await;
    }
    let mut watches = Watches::new(&fixture).await;
    watches.create(WatchCreateRequest { start_revision: 2, fragment: true, ..prefix("k") }).await;
    let mut shape = Vec::new();
    while shape.iter().map(|(count, _)| *count).sum::<usize>() < 6 {
        let answer = watches.next().await;
        shape.push((answer.events.len(), answer.fragment));
    }
    assert_eq!(shape, [(3, true), (3, false)]);
}

/// A stream that a client keeps open does not hold a shutdown up.
#[tokio::test]
async fn ends_with_the_server() {
    let fixture = Fixture::new().await;
    let mut watches = Watches::new(&fixture).await;
    watches.create(prefix("k")).await;
    assert!(fixture.tasks.stop_and_wait(Duration::from_secs(4)).await);
    let end = soon(watches.answers.message()).await;
    assert_eq!(refusal(end), "Unavailable: etcdserver: server stopped");
}
