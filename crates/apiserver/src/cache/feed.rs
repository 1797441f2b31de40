//! [`Feed`]: the one watch of the store that fills every cache.
//!
//! One feed means one order of events for all key spaces, so "has the cache seen revision N" has one answer, and a
//! write wakes one task, not one per resource.

use super::cacher::{Cacher, Load};
use crate::storage::{self, ROOT};
use bytes::Bytes;
use component::{SharedClock, Tasks};
use futures::StreamExt;
use machinery::{GroupResource, Status};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Commit, Event, RangeOptions, Store, StoreError};
use tokio::sync::watch;

/// How long a read waits for the cache to reach a revision (upstream: 3 s).
pub(super) const FRESH: Duration = Duration::from_secs(3);

/// The caches, by what readers know and by what events know.
#[derive(Default)]
struct Caches {
    by_storage: HashMap<GroupResource, Arc<Cacher>>,
    by_prefix: HashMap<Bytes, Arc<Cacher>>,
}

impl Caches {
    fn insert(&mut self, storage: &GroupResource) -> Arc<Cacher> {
        let prefix = Bytes::from(storage::prefix(storage));
        let cache = Arc::new(Cacher::new(storage.clone(), prefix.len()));
        self.by_storage.insert(storage.clone(), cache.clone());
        self.by_prefix.insert(prefix, cache.clone());
        cache
    }

    fn remove(&mut self, storage: &GroupResource) -> Option<Arc<Cacher>> {
        self.by_prefix.remove(storage::prefix(storage).as_bytes());
        self.by_storage.remove(storage)
    }
}

/// The one watch of the store that fills every cache.
pub struct Feed {
    store: Arc<dyn Store>,
    clock: SharedClock,
    caches: RwLock<Caches>,
    applied: watch::Sender<i64>,
}

impl Feed {
    /// Starts watching the store.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: SharedClock,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, StoreError> {
        let revision = store.revision().await?;
        let feed =
            Arc::new(Self { store, clock, caches: RwLock::default(), applied: watch::Sender::new(revision) });
        let runner = feed.clone();
        tasks.spawn_until_stopped("watch cache feed", async move { runner.run(revision).await });
        Ok(feed)
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    async fn run(&self, mut revision: i64) {
        loop {
            let error = self.follow(&mut revision).await;
            tracing::warn!(%error, "the watch of the store ended; reading every cached resource anew");
            self.clock.sleep(Duration::from_millis(200)).await;
            match self.store.revision().await {
                Ok(now) => revision = now,
                Err(StoreError::Closed) => return,
                Err(_) => continue,
            }
            let caches: Vec<_> = self.caches.read().by_storage.values().cloned().collect();
            for cache in &caches {
                cache.reset();
            }
            for cache in &caches {
                if let Err(error) = self.fill(cache).await {
                    tracing::error!(%error, resource = %cache.storage(), "failed to read a resource anew");
                }
            }
        }
    }

    async fn follow(&self, revision: &mut i64) -> StoreError {
        let end = store::kv::prefix_end(ROOT.as_bytes());
        let stream =
            self.store.watch(Bytes::from_static(ROOT.as_bytes()), end, Some(*revision + 1), true).await;
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        loop {
            match stream.next().await {
                None => return StoreError::Closed,
                Some(Err(error)) => return error,
                Some(Ok(commit)) => {
                    self.dispatch(&commit);
                    *revision = commit.revision;
                    self.applied.send_replace(commit.revision);
                }
            }
        }
    }

    fn dispatch(&self, commit: &Commit) {
        let now = self.clock.instant();
        if let [event] = commit.events.as_slice() {
            if let Some(cache) = self.cache_of(&event.kv.key) {
                cache.apply(commit.revision, &[event], now);
            }
            return;
        }
        // A commit's changes of one key space are applied at once, so that no snapshot shows half of it.
        let mut groups: Vec<(Arc<Cacher>, Vec<&Event>)> = Vec::new();
        for event in &commit.events {
            let Some(cache) = self.cache_of(&event.kv.key) else { continue };
            match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &cache)) {
                Some((_, events)) => events.push(event),
                None => groups.push((cache, vec![event])),
            }
        }
        for (cache, events) in groups {
            cache.apply(commit.revision, &events, now);
        }
    }

    fn cache_of(&self, key: &Bytes) -> Option<Arc<Cacher>> {
        let caches = self.caches.read();
        let mut slashes = key.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).skip(2);
        slashes.by_ref().take(2).find_map(|at| caches.by_prefix.get(&key[..=at]).cloned())
    }

    /// The cache of a key space, started if need be and ready.
    pub async fn cache(&self, storage: &GroupResource) -> Result<Arc<Cacher>, Status> {
        let known = self.caches.read().by_storage.get(storage).cloned();
        if let Some(cache) = known {
            cache.wait_ready().await?;
            return Ok(cache);
        }
        let (cache, mine) = {
            let mut caches = self.caches.write();
            match caches.by_storage.get(storage) {
                Some(cache) => (cache.clone(), false),
                None => (caches.insert(storage), true),
            }
        };
        if mine {
            // If the caller goes away or the store fails, the next one starts over.
            let undo = Undo { feed: self, storage, armed: true };
            self.fill(&cache).await.map_err(|error| storage::status(&error))?;
            undo.disarm();
        }
        cache.wait_ready().await?;
        Ok(cache)
    }

    async fn fill(&self, cache: &Cacher) -> Result<(), StoreError> {
        let prefix = storage::prefix(cache.storage());
        let end = store::kv::prefix_end(prefix.as_bytes());
        let range = self.store.range(prefix.into(), end, RangeOptions::default()).await?;
        cache.load(range.revision, range.kvs, self.clock.instant());
        Ok(())
    }

    /// How much a key space holds now; `None` while nobody used it.
    pub fn load(&self, storage: &GroupResource) -> Option<Load> {
        let cache = self.caches.read().by_storage.get(storage).cloned()?;
        Some(cache.load_now())
    }

    /// Forgets a key space that is no longer served.
    pub fn forget(&self, storage: &GroupResource) {
        let removed = self.caches.write().remove(storage);
        if let Some(cache) = removed {
            cache.reset();
        }
    }

    /// The revision that all caches have reached.
    pub fn applied(&self) -> i64 {
        *self.applied.borrow()
    }

    /// Waits until the caches have reached `revision`, for three seconds at most.
    pub async fn wait_for(&self, revision: i64) -> Result<(), Status> {
        if self.applied() >= revision {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout(FRESH, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(storage::status(&StoreError::Closed)),
            Err(_) => Err(storage::too_large(revision, self.applied())),
        }
    }

    /// Waits until the caches show everything that was acknowledged before the call.
    pub async fn wait_consistent(&self) -> Result<(), Status> {
        let revision = self.store.revision().await.map_err(|error| storage::status(&error))?;
        self.wait_for(revision).await
    }
}

struct Undo<'a> {
    feed: &'a Feed,
    storage: &'a GroupResource,
    armed: bool,
}

impl Undo<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.feed.caches.write().remove(self.storage);
        }
    }
}
