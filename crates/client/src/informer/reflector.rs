//! [`Reflector`]: the list-and-watch protocol. It turns a collection into a sequence of [`Change`]s and recovers from
//! everything that can break: refused lists, broken watches, expired revisions.
//!
//! Sources: API concepts, "Efficient detection of changes"; KEP-3157 (initial events over watch); KEP-956 (bookmarks).

use crate::backoff::Backoff;
use api::StoredObject;
use api::transport::{ListOptions, Target, Transport, WatchEvent, WatchStream};
use component::SharedClock;
use futures::StreamExt;
use machinery::Status;
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A step of a followed collection.
#[derive(Clone, Debug)]
pub enum Change {
    /// These are all objects there are, as of a revision.
    Reset(Vec<Arc<StoredObject>>, i64),
    /// An object is new or changed.
    Upsert(Arc<StoredObject>),
    /// An object is gone.
    Delete(Arc<StoredObject>),
    /// Everything up to this revision was told.
    Progress(i64),
    /// The first `Reset` was taken in. Sent once.
    Synced,
}

/// How long a server that accepted to send initial events may stay silent before a plain list is used instead.
const INITIAL_PATIENCE: Duration = Duration::from_secs(10);
/// A watch that held this long counts as healthy: the next failure starts with a short delay again.
const HEALTHY: Duration = Duration::from_secs(120);
/// A watch that ends sooner than this without any event is not tried again at once.
const TOO_SHORT: Duration = Duration::from_secs(1);
/// Page size of the plain list.
const PAGE: u64 = 500;

/// Follows one collection.
pub struct Reflector {
    transport: Arc<dyn Transport>,
    target: Target,
    options: ListOptions,
    clock: SharedClock,
}

/// How a watch ended.
enum End {
    /// By itself, or by an error that a new watch from the same revision may heal.
    Broken(Option<Status>),
    /// The revision is compacted away: list again.
    Expired,
}

impl Reflector {
    /// Follows `target` narrowed by the selectors of `options`.
    pub fn new(
        transport: Arc<dyn Transport>,
        target: Target,
        options: ListOptions,
        clock: SharedClock,
    ) -> Self {
        Self { transport, target, options, clock }
    }

    /// Follows until dropped. `sink` is called in order and must not block.
    pub async fn run(self, mut sink: impl FnMut(Change) + Send) {
        let mut backoff = Backoff::reflector();
        let mut streaming = true;
        let mut synced = false;
        loop {
            let started = self.clock.instant();
            let begun = if streaming {
                self.begin_streaming().await
            } else {
                self.begin_listing().await.map(|(o, r)| (o, r, None))
            };
            let (objects, revision, stream) = match begun {
                Ok(begun) => begun,
                Err(status) if streaming && !status.is_expired() && refuses_streaming(&status) => {
                    streaming = false;
                    continue;
                }
                Err(status) => {
                    self.log("list", &status, backoff.attempts());
                    self.clock.sleep(backoff.next_delay()).await;
                    continue;
                }
            };
            sink(Change::Reset(objects, revision));
            if !synced {
                synced = true;
                sink(Change::Synced);
            }
            self.follow(revision, stream, &mut backoff, &mut sink).await;
            if self.clock.instant().duration_since(started) > HEALTHY {
                backoff.reset();
            }
            self.clock.sleep(backoff.next_delay()).await;
        }
    }

    /// Watches from `revision` on, again and again, until the revision has expired.
    async fn follow(
        &self,
        mut revision: i64,
        mut stream: Option<WatchStream>,
        backoff: &mut Backoff,
        sink: &mut (impl FnMut(Change) + Send),
    ) {
        loop {
            let started = self.clock.instant();
            let from = revision;
            let end = match stream.take() {
                Some(open) => drain(open, &mut revision, sink).await,
                None => match self.transport.watch(&self.target, &self.watch_options(revision)).await {
                    Ok(open) => drain(open, &mut revision, sink).await,
                    Err(status) if status.is_expired() => End::Expired,
                    Err(status) => End::Broken(Some(status)),
                },
            };
            let lasted = self.clock.instant().duration_since(started);
            match end {
                End::Expired => return,
                End::Broken(None) if revision > from || lasted >= TOO_SHORT => backoff.reset(),
                End::Broken(error) => {
                    if lasted > HEALTHY {
                        backoff.reset();
                    }
                    if let Some(status) = error {
                        self.log("watch", &status, backoff.attempts());
                    }
                    self.clock.sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    fn watch_options(&self, revision: i64) -> ListOptions {
        ListOptions {
            resource_version: Some(revision.to_string()),
            allow_bookmarks: true,
            // Spread, so that the watches of many clients do not end together.
            timeout_seconds: Some(rand::rng().random_range(300..600)),
            ..self.options.clone()
        }
    }

    /// Initial events over the watch itself: one request, and the server streams instead of building a list.
    async fn begin_streaming(&self) -> Result<(Vec<Arc<StoredObject>>, i64, Option<WatchStream>), Status> {
        let options = ListOptions {
            send_initial_events: Some(true),
            resource_version_match: Some("NotOlderThan".to_owned()),
            resource_version: None,
            ..self.watch_options(0)
        };
        let mut stream = self.transport.watch(&self.target, &options).await?;
        let mut objects = BTreeMap::new();
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = self.clock.sleep(INITIAL_PATIENCE) => return Err(silent_server()),
            };
            let Some(event) = next else {
                return Err(Status::unavailable("the watch ended before its initial events"));
            };
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    objects.insert(key_of(&object), object);
                }
                WatchEvent::Deleted(object) => {
                    objects.remove(&key_of(&object));
                }
                WatchEvent::Bookmark { revision, initial_done: true } => {
                    return Ok((objects.into_values().collect(), revision, Some(stream)));
                }
                WatchEvent::Bookmark { .. } => {}
            }
        }
    }

    /// A plain list in pages.
    async fn begin_listing(&self) -> Result<(Vec<Arc<StoredObject>>, i64), Status> {
        let mut objects = Vec::new();
        let mut continue_token = None;
        loop {
            let options = ListOptions { limit: PAGE, continue_token, ..self.options.clone() };
            let page = self.transport.list(&self.target, &options).await?;
            objects.extend(page.items);
            match page.continue_token.filter(|token| !token.is_empty()) {
                Some(token) => continue_token = Some(token),
                None => return Ok((objects, page.revision)),
            }
        }
    }

    fn log(&self, verb: &str, status: &Status, attempts: u32) {
        let resource = &self.target.resource;
        if attempts > 3 {
            tracing::warn!(%resource, "failed to {verb}: {status}; retrying");
        } else {
            tracing::debug!(%resource, "failed to {verb}: {status}; retrying");
        }
    }
}

fn key_of(object: &StoredObject) -> (String, String) {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn silent_server() -> Status {
    Status::bad_request("the server accepted sendInitialEvents but did not send their end")
}

/// Servers before v1.27, and some in front of aggregated APIs, do not know initial events.
fn refuses_streaming(status: &Status) -> bool {
    matches!(status.code, 400 | 422 | 501)
}

/// Passes events on until the stream ends; keeps `revision` at the last one seen.
async fn drain(mut stream: WatchStream, revision: &mut i64, sink: &mut (impl FnMut(Change) + Send)) -> End {
    while let Some(event) = stream.next().await {
        match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                *revision = object.revision().max(*revision);
                sink(Change::Upsert(object));
            }
            Ok(WatchEvent::Deleted(object)) => {
                *revision = object.revision().max(*revision);
                sink(Change::Delete(object));
            }
            Ok(WatchEvent::Bookmark { revision: reached, .. }) => {
                *revision = reached.max(*revision);
                sink(Change::Progress(*revision));
            }
            Err(status) if status.is_expired() => return End::Expired,
            Err(status) => return End::Broken(Some(status)),
        }
    }
    End::Broken(None)
}
