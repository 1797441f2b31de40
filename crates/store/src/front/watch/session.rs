//! [`Session`]: the answers to one Watch stream.
//!
//! Watches that a client creates without an id count up from 0. Progress that the client asks for is answered once
//! every watch of the stream has brought everything up to the revision that the store had when it asked; that is
//! what makes the answer good for reading from a cache.

use super::fragment;
use super::watching::{Batch, Watching};
use crate::front::{Front, error, kv};
use crate::kv::{Revision, StoreError};
use crate::rpc::watch_request::RequestUnion;
use crate::rpc::{WatchCreateRequest, WatchRequest, WatchResponse};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{AbortHandle, Abortable, SelectAll, abortable};
use std::collections::{HashMap, VecDeque};
use tonic::{Status, Streaming};

/// An answer that belongs to no watch, or to all.
const NO_WATCH: i64 = -1;

/// Watches on one stream at most.
const MAX_WATCHES: usize = 1 << 20;

/// A watch that is live.
struct Live {
    end: AbortHandle,
    /// Everything up to here was answered.
    seen: Revision,
    notify: bool,
    fragment: bool,
    /// Answered since the last round of progress.
    is_fresh: bool,
}

/// The answers to one stream of requests.
pub(super) struct Session {
    front: Front,
    requests: Option<Streaming<WatchRequest>>,
    watches: SelectAll<Abortable<Watching>>,
    live: HashMap<i64, Live>,
    next_id: i64,
    out: VecDeque<WatchResponse>,
    /// Progress was asked for: the store was here then.
    asked: Option<Revision>,
    notify: BoxFuture<'static, ()>,
    /// Made once: each new one would take a lock that all streams share.
    stop: BoxFuture<'static, ()>,
    is_over: bool,
}

enum Input {
    Request(Option<Result<WatchRequest, Status>>),
    Batch(Batch),
    Notify,
    Stop,
}

impl Session {
    pub(super) fn new(front: Front, requests: Streaming<WatchRequest>) -> Self {
        let notify = front.0.clock.sleep(front.0.config.progress_interval);
        let stop = Box::pin(front.0.tasks.stopping().clone().cancelled_owned());
        Self {
            front,
            requests: Some(requests),
            watches: SelectAll::new(),
            live: HashMap::new(),
            next_id: 0,
            out: VecDeque::new(),
            asked: None,
            notify,
            stop,
            is_over: false,
        }
    }

    /// The next answer; none at the end.
    pub(super) async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        loop {
            if let Some(answer) = self.out.pop_front() {
                return Some(Ok(answer));
            }
            if self.is_over {
                return None;
            }
            if let Err(status) = self.turn().await {
                self.is_over = true;
                return Some(Err(status));
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Status> {
        match self.input().await {
            Input::Request(Some(Ok(request))) => match request.request_union {
                Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
                Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id).await,
                Some(RequestUnion::ProgressRequest(_)) => {
                    self.asked = Some(self.front.revision().await?);
                    self.report();
                    Ok(())
                }
                // Of a newer protocol: etcd ignores it too.
                None => Ok(()),
            },
            Input::Request(Some(Err(status))) => Err(status),
            Input::Request(None) => {
                // The client has no more requests, but may go on listening.
                self.requests = None;
                self.is_over = self.live.is_empty();
                Ok(())
            }
            Input::Batch(batch) => self.bring(batch),
            Input::Notify => self.notify().await,
            Input::Stop => Err(error::stopped()),
        }
    }

    async fn input(&mut self) -> Input {
        let Self { requests, watches, notify, stop, .. } = self;
        let request = async {
            match requests {
                Some(requests) => requests.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = request => Input::Request(request),
            Some(batch) = watches.next(), if !watches.is_empty() => Input::Batch(batch),
            () = notify => Input::Notify,
            () = stop => Input::Stop,
        }
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Status> {
        let current = self.front.revision().await?;
        let created = WatchResponse {
            header: self.front.header(current),
            watch_id: NO_WATCH,
            created: true,
            ..WatchResponse::default()
        };
        if let Some(reason) = self.refusal(&request) {
            let cancel_reason = reason.to_owned();
            self.out.push_back(WatchResponse { canceled: true, cancel_reason, ..created });
            return Ok(());
        }
        let id = self.id(request.watch_id);
        let from = Some(request.start_revision).filter(|from| *from > 0).unwrap_or(current + 1);
        // No key is the first one. The store keeps the range: not a slice of the message.
        let first = if request.key.is_empty() { b"\0" } else { &request.key[..] };
        let (start, end) = (Bytes::copy_from_slice(first), kv::end(&request.range_end));
        let end = end.map(|end| Bytes::copy_from_slice(&end));
        self.out.push_back(WatchResponse { watch_id: id, ..created });
        match self.front.0.store.watch(start, end, Some(from), true).await {
            Ok(stream) => {
                let (watching, handle) = abortable(Watching::new(id, &request, stream, from - 1));
                let live = Live {
                    end: handle,
                    seen: from - 1,
                    notify: request.progress_notify,
                    fragment: request.fragment,
                    is_fresh: true,
                };
                self.live.insert(id, live);
                self.watches.push(watching);
            }
            Err(error) => self.end(id, error)?,
        }
        Ok(())
    }

    fn refusal(&self, request: &WatchCreateRequest) -> Option<&'static str> {
        let WatchCreateRequest { key, range_end, watch_id, .. } = request;
        if !range_end.is_empty() && range_end[..] != *b"\0" && key >= range_end {
            return Some("mvcc: watcher range is empty");
        }
        if *watch_id != 0 && self.live.contains_key(watch_id) {
            return Some("mvcc: duplicate watch ID provided on the WatchStream");
        }
        (self.live.len() >= MAX_WATCHES).then_some("too many watches on one stream; open another")
    }

    fn id(&mut self, wanted: i64) -> i64 {
        if wanted != 0 {
            return wanted;
        }
        while self.live.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Status> {
        let Some(live) = self.live.remove(&id) else { return Ok(()) };
        live.end.abort();
        let header = self.front.header(self.front.revision().await?);
        self.out.push_back(WatchResponse { header, watch_id: id, canceled: true, ..Default::default() });
        self.report();
        Ok(())
    }

    fn bring(&mut self, batch: Batch) -> Result<(), Status> {
        // One that was cancelled meanwhile.
        let Some(live) = self.live.get_mut(&batch.id) else { return Ok(()) };
        live.seen = batch.seen;
        if !batch.events.is_empty() {
            live.is_fresh = true;
            let limit = if live.fragment { self.front.0.config.max_request_bytes } else { usize::MAX };
            let answer = WatchResponse {
                header: self.front.header(batch.seen),
                watch_id: batch.id,
                events: batch.events,
                ..WatchResponse::default()
            };
            fragment::push(answer, limit, &mut self.out);
        }
        if let Some(error) = batch.error {
            self.live.remove(&batch.id);
            self.end(batch.id, error)?;
        }
        self.report();
        Ok(())
    }

    /// Tells the client that a watch has ended, and why.
    fn end(&mut self, id: i64, error: StoreError) -> Result<(), Status> {
        let (compact_revision, cancel_reason) = match error {
            StoreError::Closed => return Err(error::stopped()),
            StoreError::Compacted { oldest } => (oldest, error::COMPACTED.to_owned()),
            // It was too slow: what it would have to read next is gone.
            StoreError::Slow => (self.front.0.maintenance.status().compacted, error::COMPACTED.to_owned()),
            other => (0, error::status(other).message().to_owned()),
        };
        let canceled = WatchResponse {
            watch_id: id,
            canceled: true,
            compact_revision,
            cancel_reason,
            ..Default::default()
        };
        self.out.push_back(WatchResponse { header: self.front.header(0), ..canceled });
        Ok(())
    }

    /// Answers a request for progress when all watches have got there.
    fn report(&mut self) {
        let Some(asked) = self.asked else { return };
        if self.live.values().all(|live| live.seen >= asked) {
            self.asked = None;
            let header = self.front.header(asked);
            self.out.push_back(WatchResponse { header, watch_id: NO_WATCH, ..Default::default() });
        }
    }

    /// Tells watches that asked for it, and heard nothing lately, how far they have seen.
    async fn notify(&mut self) -> Result<(), Status> {
        self.notify = self.front.0.clock.sleep(self.front.0.config.progress_interval);
        let current = self.front.revision().await?;
        for (id, live) in &mut self.live {
            // One that starts in the future has nothing to say.
            let is_silent = !std::mem::take(&mut live.is_fresh);
            if live.notify && is_silent && live.seen <= current {
                let header = self.front.header(live.seen);
                self.out.push_back(WatchResponse { header, watch_id: *id, ..Default::default() });
            }
        }
        Ok(())
    }
}
