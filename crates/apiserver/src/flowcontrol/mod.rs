//! API priority and fairness (KEP-1040): every request belongs to a FlowSchema and through it to a priority level,
//! which has seats and queues of its own, so that one tenant's flood leaves others and the system itself their part.
//!
//! A request that finds a seat costs a look through the schemas and two short locks; nothing is spawned and nothing
//! allocated for it. `--enable-priority-and-fairness=false` leaves two plain limits ([`Inflight`]). Deliberately
//! absent: upstream's feature gates, and counting seats of a response that is still being streamed.

mod bootstrap;
mod debug;
mod inflight;
mod keeper;
mod level;
mod limits;
mod queue;
mod rules;
mod schema;
mod shuffle;
mod stats;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use work::Listing;

use crate::cache::Feed;
use crate::contract::{Attributes, Context};
use arc_swap::ArcSwap;
use component::{SharedClock, Tasks};
use http::{HeaderMap, HeaderName, HeaderValue};
use inflight::{Inflight, Place};
use keeper::Objects;
use level::{Entry, Refusal};
use machinery::Status;
use parking_lot::Mutex;
use schema::{Schema, Table};
use stats::Stats;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use work::Work;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Seconds after which a refused client may come back.
const RETRY_AFTER: i32 = 1;
/// The part of a request's time that it may wait, and the longest wait (upstream's).
const PATIENCE_DIVISOR: u32 = 4;
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// How many requests a server takes at once, and how it chooses.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `--enable-priority-and-fairness`.
    pub enabled: bool,
    /// `--max-requests-inflight`; 0 is no limit.
    pub max_requests: u32,
    /// `--max-mutating-requests-inflight`; 0 is no limit.
    pub max_mutating_requests: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, max_requests: 400, max_mutating_requests: 200 }
    }
}

/// The flow control of a server. Lets everything through until [`FlowControl::start`] has read its objects.
pub struct FlowControl {
    settings: Settings,
    clock: SharedClock,
    tasks: Tasks,
    patience: Duration,
    table: ArcSwap<Table>,
    objects: Mutex<Objects>,
    /// By names of schema and level; they outlive both.
    stats: Mutex<BTreeMap<(String, String), Arc<Stats>>>,
    feed: OnceLock<Arc<Feed>>,
    inflight: Inflight,
    changed: Notify,
}

/// What a refused client is told; upstream sends plain text.
pub(crate) const REFUSED: &str = "Too many requests, please try again later.";

/// A request that was not let through.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// What to say of its classification.
    pub(crate) label: Label,
}

impl Refused {
    /// For callers in process.
    pub(crate) fn status(&self) -> Status {
        Status::too_many_requests(REFUSED, RETRY_AFTER)
    }

    /// Seconds after which to come back.
    pub(crate) fn retry_after(&self) -> HeaderValue {
        HeaderValue::from(RETRY_AFTER)
    }
}

/// UIDs of schema and level, for the response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Label(Option<(HeaderValue, HeaderValue)>);

impl Label {
    /// Marks a response.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if let Some((schema, level)) = &self.0 {
            headers.insert(SCHEMA_UID, schema.clone());
            headers.insert(LEVEL_UID, level.clone());
        }
    }
}

/// A request that runs. Dropping it frees its seats.
#[derive(Default)]
pub(crate) struct Ticket {
    _seat: Option<Seat>,
    _place: Option<Place>,
    /// What to say of its classification.
    pub(crate) label: Label,
}

impl Ticket {
    /// The response, marked; the request has been answered.
    pub(crate) fn marked(self, mut response: component::serve::Response) -> component::serve::Response {
        self.label.mark(response.headers_mut());
        response
    }
}

struct Seat {
    schema: Arc<Schema>,
    queue: usize,
    work: Work,
    started: Instant,
    clock: SharedClock,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ran = self.clock.instant().saturating_duration_since(self.started);
        self.schema.stats.ended(self.work.width(), ran);
        self.schema.level.leave(self.queue, self.work, ran);
    }
}

/// Sees to it that a request that stops waiting is counted, also when its client goes away.
struct Queued<'a> {
    schema: &'a Schema,
    clock: &'a SharedClock,
    since: Instant,
    outcome: Option<Refusal>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.schema.stats.unqueued();
        if let Some(why) = self.outcome {
            self.schema.stats.refused(why, self.clock.instant().saturating_duration_since(self.since));
        }
    }
}

impl FlowControl {
    /// Flow control that knows no objects yet.
    pub(crate) fn new(settings: Settings, timeout: Duration, clock: SharedClock, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            settings,
            clock,
            tasks,
            patience: (timeout / PATIENCE_DIVISOR).min(MAX_PATIENCE),
            table: ArcSwap::default(),
            objects: Mutex::default(),
            stats: Mutex::default(),
            feed: OnceLock::new(),
            inflight: Inflight::new(settings),
            changed: Notify::new(),
        })
    }

    /// Brings the default objects into the store, reads all of them and follows them from now on.
    pub(crate) async fn start(self: &Arc<Self>, context: &Context, feed: &Arc<Feed>) -> Result<(), Status> {
        // Only the first feed counts; a server has one.
        let _ = self.feed.set(feed.clone());
        keeper::start(self, context).await
    }

    /// Lets a request through, at once or in its turn, or refuses it.
    pub(crate) async fn enter(&self, asked: &Attributes, listing: Listing) -> Result<Ticket, Refused> {
        if !self.settings.enabled {
            return match self.inflight.enter(asked) {
                Some(place) => Ok(Ticket { _place: place, ..Ticket::default() }),
                None => Err(Refused::default()),
            };
        }
        let Some(schema) = self.table.load().classify(asked).cloned() else { return Ok(Ticket::default()) };
        let label = Label(Some((schema.uid.clone(), schema.level_uid.clone())));
        let work =
            work::estimate(self.feed.get().map(|feed| feed.as_ref()), asked, listing, schema.max_seats);
        schema.stats.estimated(work.width());
        let since = self.clock.instant();
        let distinguisher = schema.distinguish.of_request(asked);
        let (queue, started) = match schema.level.enter(&schema, distinguisher, work) {
            Entry::Runs(queue) => (queue, since),
            Entry::Refused(why) => {
                schema.stats.refused(why, Duration::ZERO);
                return Err(Refused { label });
            }
            Entry::Waits(mut waiting) => {
                schema.stats.queued(waiting.length);
                let mut queued =
                    Queued { schema: &schema, clock: &self.clock, since, outcome: Some(Refusal::Cancelled) };
                if !waiting.turn(self.patience).await {
                    queued.outcome = Some(Refusal::TimeOut);
                    return Err(Refused { label });
                }
                queued.outcome = None;
                (waiting.queue, self.clock.instant())
            }
        };
        schema.stats.started(work.width(), started.saturating_duration_since(since));
        let seat = Seat { schema, queue, work, started, clock: self.clock.clone() };
        Ok(Ticket { _seat: Some(seat), _place: None, label })
    }
}
