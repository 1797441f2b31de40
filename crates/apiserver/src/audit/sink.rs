//! [`Sink`]: the way of events to one backend, in batches or with the request waiting.
//!
//! Deliberately absent: what a backend does with events ([`Backend`]).

use super::event::Event;
use async_trait::async_trait;
use component::{SharedClock, Tasks};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

/// Takes events.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Its name, for logs.
    fn name(&self) -> &'static str;
    /// Takes events in their order; an error says why they are lost.
    async fn write(&self, events: &[Arc<Event>]) -> Result<(), String>;
}

/// Whether requests wait until their events are written (`--audit-*-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Events are buffered; a full buffer drops them.
    Batch,
    /// Requests wait.
    #[default]
    Blocking,
    /// Requests wait, and fail when the event of their reception cannot be written.
    BlockingStrict,
}

/// How events are gathered.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Events that may wait; more are dropped.
    pub buffer: usize,
    /// Events in one write.
    pub max_size: usize,
    /// How long an event waits for others.
    pub max_wait: Duration,
    /// Writes per second and in a burst, where they are throttled.
    pub throttle: Option<(f64, usize)>,
}

impl Batch {
    /// Upstream's defaults for log files.
    pub const LOG: Self = Self { buffer: 10_000, max_size: 1, max_wait: Duration::ZERO, throttle: None };
    /// Upstream's defaults for webhooks.
    pub const WEBHOOK: Self =
        Self { buffer: 10_000, max_size: 400, max_wait: Duration::from_secs(30), throttle: Some((10.0, 15)) };
}

/// How a backend is fed.
#[derive(Clone, Copy, Debug)]
pub struct Feeding {
    /// Whether requests wait.
    pub mode: Mode,
    /// How events are gathered in [`Mode::Batch`].
    pub batch: Batch,
    /// With truncation: bytes that an event and a batch may have.
    pub truncate: Option<(usize, usize)>,
}

/// Events of one write where requests wait.
const MOST_AT_ONCE: usize = 10_000;

struct Item {
    event: Arc<Event>,
    done: Option<oneshot::Sender<bool>>,
}

/// Requests that may still make events, so that a stop loses none.
#[derive(Default)]
pub(super) struct Open {
    count: AtomicUsize,
    none: Notify,
}

impl Open {
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }
}

/// The way to one backend.
pub(super) struct Sink {
    queue: mpsc::Sender<Item>,
    feeding: Feeding,
    name: &'static str,
}

impl Sink {
    /// Starts feeding `backend`.
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        feeding: Feeding,
        (clock, tasks): (SharedClock, &Tasks),
        open: Arc<Open>,
    ) -> Self {
        let (queue, items) = mpsc::channel(feeding.batch.buffer.max(1));
        let name = backend.name();
        let stopping = tasks.stopping().clone();
        let mut worker =
            Worker { backend, feeding, clock, items, pending: Vec::new(), tokens: 0.0, refilled: None };
        tasks.spawn("audit", async move {
            // What was gathered stays in the worker, so that the stop of waiting loses nothing; a write is not stopped.
            while stopping.run_until_cancelled(worker.gather()).await == Some(true) {
                worker.write().await;
            }
            // Then until the last open request has told how it ended.
            loop {
                let ended = open.none.notified();
                worker.drain();
                worker.write().await;
                if !open.any() {
                    worker.drain();
                    return worker.write().await;
                }
                tokio::select! {
                    () = ended => {}
                    _ = worker.next() => {}
                }
            }
        });
        Self { queue, feeding, name }
    }

    /// Hands an event over. An error only in strict mode.
    pub(super) async fn send(&self, event: &Arc<Event>) -> Result<(), ()> {
        let Some(event) = self.fitting(event) else { return Ok(()) };
        if self.feeding.mode == Mode::Batch {
            self.push(event);
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        let sent = self.queue.send(Item { event, done: Some(done) }).await.is_ok();
        let written = sent && written.await.unwrap_or(false);
        if written || self.feeding.mode == Mode::Blocking { Ok(()) } else { Err(()) }
    }

    /// Hands an event over where nobody can wait: at the end of a stream.
    pub(super) fn push(&self, event: Arc<Event>) {
        if self.queue.try_send(Item { event, done: None }).is_err() {
            tracing::error!(backend = self.name, "the audit buffer is full; an event is lost");
        }
    }

    /// The event in the size that the backend takes.
    pub(super) fn fitting(&self, event: &Arc<Event>) -> Option<Arc<Event>> {
        let Some((most, _)) = self.feeding.truncate else { return Some(event.clone()) };
        let fitting = event.within(most);
        if fitting.is_none() {
            tracing::error!(id = event.id(), "an audit event is larger than {most} bytes; it is lost");
        }
        fitting
    }
}

struct Worker {
    backend: Arc<dyn Backend>,
    feeding: Feeding,
    clock: SharedClock,
    items: mpsc::Receiver<Item>,
    pending: Vec<Item>,
    tokens: f64,
    refilled: Option<Instant>,
}

impl Worker {
    /// Waits for an event; `false` when no more can come.
    async fn next(&mut self) -> bool {
        let item = self.items.recv().await;
        let some = item.is_some();
        self.pending.extend(item);
        some
    }

    /// Waits for the events of one write; `false` when no more can come.
    async fn gather(&mut self) -> bool {
        if !self.next().await {
            return false;
        }
        let batch = self.feeding.batch;
        if self.feeding.mode != Mode::Batch {
            // Those who wait at the same time are written at once.
            self.drain();
        } else if batch.max_size > 1 {
            let late = self.clock.sleep(batch.max_wait);
            tokio::pin!(late);
            while self.pending.len() < batch.max_size {
                tokio::select! {
                    true = self.next() => {}
                    () = &mut late => break,
                    else => break,
                }
            }
        }
        self.throttle().await;
        true
    }

    /// Takes what is there.
    fn drain(&mut self) {
        while self.pending.len() < MOST_AT_ONCE
            && let Ok(item) = self.items.try_recv()
        {
            self.pending.push(item);
        }
    }

    async fn throttle(&mut self) {
        let Some((rate, burst)) = self.feeding.batch.throttle.filter(|_| self.feeding.mode == Mode::Batch)
        else {
            return;
        };
        let most = burst.max(1) as f64;
        let now = self.clock.instant();
        self.tokens = match self.refilled {
            None => most,
            Some(then) => most.min(self.tokens + now.saturating_duration_since(then).as_secs_f64() * rate),
        };
        self.refilled = Some(now);
        self.tokens -= 1.0;
        if self.tokens < 0.0 && rate > 0.0 {
            self.clock.sleep(Duration::from_secs_f64(-self.tokens / rate)).await;
        }
    }

    async fn write(&mut self) {
        let mut items = std::mem::take(&mut self.pending);
        while !items.is_empty() {
            let rest = items.split_off(self.batch_of(&items));
            let events: Vec<Arc<Event>> = items.iter().map(|item| item.event.clone()).collect();
            let result = self.backend.write(&events).await;
            if let Err(error) = &result {
                let (backend, events) = (self.backend.name(), events.len());
                tracing::error!(backend, events, "failed to write audit events: {error}; they are lost");
            }
            for done in items.into_iter().filter_map(|item| item.done) {
                // Who waited may have gone.
                let _ = done.send(result.is_ok());
            }
            items = rest;
        }
    }

    /// How many of the items make one write.
    fn batch_of(&self, items: &[Item]) -> usize {
        let Some((_, most)) = self.feeding.truncate else { return items.len() };
        let mut size = 0;
        let fits = items.iter().take_while(|item| {
            size += item.event.json().len() + 1;
            size <= most
        });
        fits.count().max(1)
    }
}
