//! Watches: from now, from a version, from "0", with initial events and bookmarks.
//!
//! Source: API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists" (KEP-3157).

use super::cacher::{Behind, Cacher, Subscription};
use super::event::{CacheEvent, Change};
use super::feed::Feed;
use super::history;
use super::list::parse_version;
use super::selection::Selection;
use api::StoredObject;
use api::transport::ListOptions;
use component::SharedClock;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use machinery::{FieldErrors, FieldPath, GroupKind, Status};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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

/// Refuses options that contradict each other.
fn check(options: &ListOptions) -> Result<(), Status> {
    const MATCH: &str = "resourceVersionMatch";
    let kind = options.resource_version_match.as_deref();
    let mut errors = FieldErrors::new();
    if options.send_initial_events.is_some() && kind != Some("NotOlderThan") {
        errors.forbidden(
            FieldPath::new(MATCH),
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    if let Some(kind) = kind {
        if options.send_initial_events.is_none() {
            errors.forbidden(
                FieldPath::new(MATCH),
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if kind != "NotOlderThan" {
            errors.not_supported(FieldPath::new(MATCH), kind, &["NotOlderThan"]);
        }
        if options.continue_token.is_some() {
            errors.forbidden(
                FieldPath::new(MATCH),
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("meta.k8s.io", "ListOptions"), "", &errors))
}

/// Decides where to start, and waits until the cache is recent enough for it.
async fn start(feed: &Feed, options: &ListOptions) -> Result<Start, Status> {
    check(options)?;
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
    let selection = Arc::new(selection);
    let mut head = Vec::new();
    let mut skip_until = 0;
    let mut past = None;
    let subscription = match start {
        Start::After(revision) => {
            skip_until = revision;
            match cacher.subscribe(revision) {
                Ok(subscription) => subscription,
                Err(oldest) => {
                    // Subscribed first: what the ring forgets meanwhile ends the watch, not its order.
                    let subscription = cacher.subscribe(oldest).map_err(|oldest| {
                        Status::expired(format!("too old resource version: {revision} ({oldest})"))
                    })?;
                    past = Some(history::since(&feed, &cacher, revision, oldest).await?);
                    subscription
                }
            }
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
    let clock = feed.clock().clone();
    let present = Watching {
        head: head.into_iter(),
        subscription,
        events: Vec::new(),
        selection: selection.clone(),
        bookmarks: options.allow_bookmarks,
        is_bookmark_due: false,
        skip_until,
        bookmarked: 0,
        due: clock.sleep(BOOKMARK_EVERY.min(timeout)),
        left: timeout.saturating_sub(BOOKMARK_EVERY),
        is_last: timeout <= BOOKMARK_EVERY,
        feed,
        clock: clock.clone(),
    };
    Ok(match past {
        None => Box::pin(present),
        Some(past) => after(past, selection, present).take_until(clock.sleep(timeout)).boxed(),
    })
}

/// What is selected of the past, then the present; nothing more if the past breaks off.
fn after(
    past: history::Past,
    selection: Arc<Selection>,
    present: impl futures::Stream<Item = Vec<Delivery>> + Send + 'static,
) -> impl futures::Stream<Item = Vec<Delivery>> + Send {
    let past = past.map(move |commit| {
        let selected = |event: Arc<CacheEvent>| Some(Delivery::Change(seen(&selection, &event)?, event));
        commit.ok().map(|events| events.into_iter().filter_map(selected).collect::<Vec<_>>())
    });
    past.chain(present.map(Some))
        .take_while(|deliveries| futures::future::ready(deliveries.is_some()))
        .filter_map(|deliveries| futures::future::ready(deliveries.filter(|some| !some.is_empty())))
}

/// Between 30 and 60 minutes, so that watches do not all come back at once.
fn default_timeout() -> Duration {
    Duration::from_secs(1800 + rand::random_range(0..1800))
}

/// A watch under way. Polled for each event of each watcher, so it does not more than it must.
struct Watching {
    head: std::vec::IntoIter<Delivery>,
    feed: Arc<Feed>,
    clock: SharedClock,
    subscription: Subscription,
    /// Taken from the ring, empty between polls; kept for its memory.
    events: Vec<Arc<CacheEvent>>,
    selection: Arc<Selection>,
    bookmarks: bool,
    is_bookmark_due: bool,
    skip_until: i64,
    bookmarked: i64,
    /// When the next bookmark is due or, if `is_last`, when the watch is over. One timer for both and for all bookmarks:
    /// setting it anew costs as much as an event.
    due: BoxFuture<'static, ()>,
    is_last: bool,
    /// Time of the watch after `due`.
    left: Duration,
}

impl Stream for Watching {
    type Item = Vec<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<Delivery>>> {
        let this = self.get_mut();
        let head: Vec<_> = this.head.by_ref().take(BATCH).collect();
        if !head.is_empty() {
            return Poll::Ready(Some(head));
        }
        loop {
            // Read before the ring: what the caches had reached by then, the ring shows.
            let applied = if this.is_bookmark_due { this.feed.applied() } else { 0 };
            if let Err(Behind) = this.subscription.take(BATCH, &mut this.events, cx.waker()) {
                return Poll::Ready(None);
            }
            if this.events.is_empty() {
                if std::mem::take(&mut this.is_bookmark_due) && applied > this.bookmarked.max(this.skip_until)
                {
                    this.bookmarked = applied;
                    let bookmark = Delivery::Bookmark { revision: applied, initial_done: false };
                    return Poll::Ready(Some(vec![bookmark]));
                }
                match this.due.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) if this.is_last => return Poll::Ready(None),
                    Poll::Ready(()) => this.wind(),
                }
                continue;
            }
            // Whoever never catches up has to end too.
            if this.events.len() == BATCH && this.due.poll_unpin(cx).is_ready() {
                if this.is_last {
                    return Poll::Ready(None);
                }
                this.wind();
            }
            let deliveries = this.deliveries();
            if !deliveries.is_empty() {
                return Poll::Ready(Some(deliveries));
            }
        }
    }
}

impl Watching {
    /// Sets the timer anew.
    fn wind(&mut self) {
        self.is_bookmark_due = self.bookmarks;
        self.is_last = self.left <= BOOKMARK_EVERY;
        self.due = self.clock.sleep(BOOKMARK_EVERY.min(self.left));
        self.left = self.left.saturating_sub(BOOKMARK_EVERY);
    }

    /// What the events taken are to this watcher.
    fn deliveries(&mut self) -> Vec<Delivery> {
        let (selection, skip_until) = (&self.selection, self.skip_until);
        let mut deliveries = Vec::with_capacity(self.events.len());
        for event in self.events.drain(..).filter(|event| event.revision > skip_until) {
            if let Some(change) = seen(selection, &event) {
                deliveries.push(Delivery::Change(change, event));
            }
        }
        deliveries
    }
}
