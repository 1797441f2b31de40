//! [`Watching`]: one watch: what the store says, filtered and gathered into answers.

use crate::front::kv::key_value;
use crate::kv::{Event, EventKind, Revision, StoreError, WatchStream};
use crate::rpc;
use crate::rpc::watch_create_request::FilterType;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Events of several commits that wait go into one answer until it has so many bytes.
const ANSWER_BYTES: usize = 256 << 10;

/// Or so many events.
const ANSWER_EVENTS: usize = 1000;

/// Commits looked at before other watches may go on.
const PORTION: usize = 4096;

/// What a watch brings.
pub(super) struct Batch {
    pub(super) id: i64,
    /// Everything up to here was brought.
    pub(super) seen: Revision,
    /// The events, commit by commit; empty when none of them is wanted.
    pub(super) events: Vec<rpc::Event>,
    /// The watch has ended.
    pub(super) error: Option<StoreError>,
}

/// One watch. Ends after an error.
pub(super) struct Watching {
    id: i64,
    stream: WatchStream,
    with_previous: bool,
    no_put: bool,
    no_delete: bool,
    seen: Revision,
    failed: Option<StoreError>,
    is_done: bool,
}

impl Watching {
    /// The watch `id` as `request` wants it, on a stream of the store that starts after `seen`.
    pub(super) fn new(
        id: i64,
        request: &rpc::WatchCreateRequest,
        stream: WatchStream,
        seen: Revision,
    ) -> Self {
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        Self {
            id,
            stream,
            with_previous: request.prev_kv,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            seen,
            failed: None,
            is_done: false,
        }
    }

    fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    fn convert(&self, event: Event) -> rpc::Event {
        let kind = match event.kind {
            EventKind::Put => rpc::event::EventType::Put,
            EventKind::Delete => rpc::event::EventType::Delete,
        };
        let prev_kv = event.previous.filter(|_| self.with_previous).map(key_value);
        rpc::Event { r#type: kind as i32, kv: Some(key_value(event.kv)), prev_kv }
    }

    fn batch(&mut self, events: Vec<rpc::Event>, error: Option<StoreError>) -> Poll<Option<Batch>> {
        self.is_done = error.is_some();
        Poll::Ready(Some(Batch { id: self.id, seen: self.seen, events, error }))
    }
}

/// About what an event takes in a message.
pub(super) fn size(event: &rpc::Event) -> usize {
    let kv = |kv: &rpc::KeyValue| kv.key.len() + kv.value.len() + 32;
    event.kv.as_ref().map_or(0, kv) + event.prev_kv.as_ref().map_or(0, kv)
}

impl Stream for Watching {
    type Item = Batch;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        if let Some(error) = self.failed.take() {
            return self.batch(Vec::new(), Some(error));
        }
        let before = self.seen;
        let mut events = Vec::new();
        let mut bytes = 0;
        for _ in 0..PORTION {
            match self.stream.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(commit))) => {
                    self.seen = self.seen.max(commit.revision);
                    for event in commit.events {
                        if self.wants(&event) {
                            let event = self.convert(event);
                            bytes += size(&event);
                            events.push(event);
                        }
                    }
                    // Never within a commit: a client that resumes after it would miss the rest.
                    if bytes >= ANSWER_BYTES || events.len() >= ANSWER_EVENTS {
                        return self.batch(events, None);
                    }
                }
                Poll::Ready(Some(Err(error))) if events.is_empty() => {
                    return self.batch(events, Some(error));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    return self.batch(events, None);
                }
                Poll::Ready(None) => return self.batch(events, Some(StoreError::Closed)),
                Poll::Pending if self.seen == before => return Poll::Pending,
                Poll::Pending => return self.batch(events, None),
            }
        }
        self.batch(events, None)
    }
}
