//! Watches: from now, from a version, from "0", with initial events and bookmarks.
//!
//! Source: API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists" (KEP-3157).

use super::cacher::{Cacher, Ended, Subscription};
use super::event::{CacheEvent, Change};
use super::feed::Feed;
use super::list::parse_version;
use super::selection::Selection;
use api::StoredObject;
use api::transport::ListOptions;
use component::SharedClock;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use machinery::{FieldErrors, FieldPath, GroupKind, Status};
use std::sync::Arc;
use std::time::Duration;

/// How often a watch gets a bookmark, once it has seen all events.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Events taken from the ring at once.
const BATCH: usize = 128;

/// What a watcher gets.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An object that existed when the watch began.
    Initial(Arc<StoredObject>),
    /// A change; what it is to this watcher may differ from what it was.
    Change(Change, Arc<CacheEvent>),
    /// Everything up to `revision` was delivered.
    Bookmark {
        /// The revision reached.
        revision: i64,
        /// Whether the initial events end here.
        initial_done: bool,
    },
}

/// Deliveries in order, as many at a time as are due, never none.
pub type Deliveries = BoxStream<'static, Vec<Delivery>>;

enum Start {
    /// Synthetic events for what exists, then changes. `bookmark` marks their end.
    Initial { bookmark: bool },
    /// Changes after the present.
    Now,
    /// Changes after a revision.
    After(i64),
}

fn forbidden(field: &str, why: &str) -> Status {
    let mut errors = FieldErrors::new();
    errors.forbidden(FieldPath::new(field), why);
    Status::invalid(&GroupKind::new("meta.k8s.io", "ListOptions"), "", &errors)
}

/// Decides where to start, and waits until the cache is recent enough for it.
async fn start(feed: &Feed, options: &ListOptions) -> Result<Start, Status> {
    let kind = options.resource_version_match.as_deref();
    match (options.send_initial_events, kind) {
        (None, None) => {}
        (None, Some(_)) => {
            return Err(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        (Some(_), Some("NotOlderThan")) => {}
        (Some(_), _) => {
            return Err(forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
    }
    let version = options.resource_version.as_deref().map(parse_version).transpose()?;
    match (options.send_initial_events, version) {
        (Some(true), None) => feed.wait_consistent().await?,
        (Some(true), Some(revision)) => feed.wait_for(revision).await?,
        (Some(false), None) => {
            feed.wait_consistent().await?;
            return Ok(Start::Now);
        }
        (Some(false), Some(0)) => return Ok(Start::Now),
        (None, None) => {
            feed.wait_consistent().await?;
            return Ok(Start::Initial { bookmark: false });
        }
        (None, Some(0)) => return Ok(Start::Initial { bookmark: false }),
        (None | Some(false), Some(revision)) => return Ok(Start::After(revision)),
    }
    Ok(Start::Initial { bookmark: options.allow_bookmarks })
}

/// What a change is to a watcher with this selection.
fn seen(selection: &Selection, event: &CacheEvent) -> Option<Change> {
    if !event.key.starts_with(selection.prefix()) {
        return None;
    }
    if selection.is_whole_prefix() {
        return Some(event.change);
    }
    let before = event.previous.as_ref().is_some_and(|old| selection.matches(&event.key, old));
    let after = event.change != Change::Deleted && selection.matches(&event.key, &event.object);
    match (before, after) {
        (true, true) => Some(Change::Modified),
        (true, false) => Some(Change::Deleted),
        (false, true) => Some(Change::Added),
        (false, false) => None,
    }
}

/// Watches what `selection` selects. The stream ends when the watcher falls behind, when history breaks and when
/// the time of the options is over.
pub async fn watch(
    feed: Arc<Feed>,
    cacher: Arc<Cacher>,
    selection: Selection,
    options: &ListOptions,
) -> Result<Deliveries, Status> {
    let start = start(&feed, options).await?;
    let mut head = Vec::new();
    let mut skip_until = 0;
    let subscription = match start {
        Start::After(revision) => {
            skip_until = revision;
            cacher.subscribe(revision).map_err(|oldest| {
                Status::expired(format!("too old resource version: {revision} ({oldest})"))
            })?
        }
        Start::Now => cacher.snapshot_and_subscribe().1,
        Start::Initial { bookmark } => {
            let applied = feed.applied();
            let (snapshot, subscription) = cacher.snapshot_and_subscribe();
            let selected = snapshot
                .range(selection.prefix(), "")
                .filter(|(key, object)| selection.matches(key, object))
                .map(|(_, object)| Delivery::Initial(object.clone()));
            head.extend(selected);
            if bookmark {
                let revision = snapshot.revision.max(applied);
                head.push(Delivery::Bookmark { revision, initial_done: true });
            }
            subscription
        }
    };
    let timeout = options.timeout_seconds.map(Duration::from_secs).unwrap_or_else(default_timeout);
    let tail = Tail {
        due: feed.clock().sleep(BOOKMARK_EVERY),
        clock: feed.clock().clone(),
        feed,
        subscription,
        events: Vec::new(),
        selection,
        bookmarks: options.allow_bookmarks,
        skip_until,
        bookmarked: 0,
    };
    let clock = tail.clock.clone();
    let mut head = head.into_iter();
    let portions = std::iter::from_fn(move || {
        let portion: Vec<_> = head.by_ref().take(BATCH).collect();
        (!portion.is_empty()).then_some(portion)
    });
    let stream = futures::stream::iter(portions).chain(tail.stream());
    Ok(stream.take_until(clock.sleep(timeout)).boxed())
}

/// Between 30 and 60 minutes, so that watches do not all come back at once.
fn default_timeout() -> Duration {
    Duration::from_secs(1800 + rand::random_range(0..1800))
}

struct Tail {
    feed: Arc<Feed>,
    clock: SharedClock,
    subscription: Subscription,
    /// Taken from the ring, empty between batches; kept for its memory.
    events: Vec<Arc<CacheEvent>>,
    selection: Selection,
    bookmarks: bool,
    skip_until: i64,
    bookmarked: i64,
    /// When the next bookmark is due. One timer for all of them: setting it anew costs as much as an event.
    due: BoxFuture<'static, ()>,
}

impl Tail {
    fn stream(self) -> impl futures::Stream<Item = Vec<Delivery>> + Send {
        futures::stream::unfold(self, |mut tail| async move { Some((tail.batch().await?, tail)) })
    }

    /// The next deliveries, at least one; `None` when the watch is over.
    async fn batch(&mut self) -> Option<Vec<Delivery>> {
        loop {
            // Read before the ring: what the caches had reached by then, the ring shows.
            let applied = self.feed.applied();
            match self.subscription.take(BATCH, &mut self.events) {
                Ok(()) => {}
                Err(Ended::Behind | Ended::Closed) => return None,
            }
            if self.events.is_empty() {
                tokio::select! {
                    more = self.subscription.more() => if more.is_err() { return None },
                    () = &mut self.due => {
                        self.due = self.clock.sleep(BOOKMARK_EVERY);
                        if self.bookmarks && applied > self.bookmarked.max(self.skip_until) {
                            self.bookmarked = applied;
                            return Some(vec![Delivery::Bookmark { revision: applied, initial_done: false }]);
                        }
                    }
                }
                continue;
            }
            let (selection, skip_until) = (&self.selection, self.skip_until);
            let later = self.events.drain(..).filter(|event| event.revision > skip_until);
            let deliveries: Vec<_> =
                later.filter_map(|event| Some(Delivery::Change(seen(selection, &event)?, event))).collect();
            if !deliveries.is_empty() {
                return Some(deliveries);
            }
        }
    }
}
