//! [`Cacher`]: the current objects and the recent events of one key space.

use super::event::{CacheEvent, Change};
use super::waiting::{Place, Waiting};
use api::StoredObject;
use bytes::Bytes;
use imbl::OrdMap;
use machinery::{GroupResource, Status};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use store::{Event, EventKind, KeyValue};
use tokio::sync::watch;

/// Events younger than this are kept, within the limits below (upstream keeps 75 s).
const WINDOW: Duration = Duration::from_secs(75);
/// Events that are kept however old.
const MIN_EVENTS: usize = 128;
/// Events that are kept at most.
const MAX_EVENTS: usize = 100_000;
/// Bytes of objects that events may hold on to. What is encoded and decoded of them, and the states before, come on
/// top, several times as much.
const MAX_BYTES: usize = 16 << 20;
/// Snapshots kept for the next pages of lists.
const MAX_SNAPSHOTS: usize = 16;
/// How long a list may take to come back for its next page.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(300);

/// The objects of a key space at one revision. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision it shows.
    pub revision: i64,
    /// By `namespace/name` or `name`.
    pub objects: OrdMap<Arc<str>, Arc<StoredObject>>,
}

impl Snapshot {
    /// The objects whose keys start with `prefix`, from `start` on, in order.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        start: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<StoredObject>)> {
        let from = if start > prefix { start } else { prefix };
        self.objects
            .range::<_, str>((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}

/// How much a key space holds and who follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Objects.
    pub objects: usize,
    /// Bytes of one, about.
    pub average_bytes: usize,
    /// Open watches.
    pub watchers: usize,
}

impl Snapshot {
    /// The objects whose keys start with `prefix` and come after `last`, in order.
    pub(super) fn after<'a>(
        &'a self,
        prefix: &'a str,
        last: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<StoredObject>)> {
        self.objects
            .range::<_, str>((Bound::Excluded(last), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}

enum Phase {
    /// Being listed; what happens meanwhile waits here.
    Loading(Vec<(i64, Event)>),
    Ready,
}

struct State {
    phase: Phase,
    snapshot: Snapshot,
    /// Revision of the list that the cache was filled from. The feed may still be behind it.
    loaded_at: i64,
    ring: VecDeque<Arc<CacheEvent>>,
    ring_bytes: usize,
    next_seq: u64,
    /// All events after this revision are in the ring.
    floor: i64,
    /// Changes when history broke: older subscriptions end.
    epoch: u64,
    kept: VecDeque<(Instant, Snapshot)>,
    waiting: Waiting,
}

/// The current objects and the recent events of one key space. All methods may be called concurrently.
pub struct Cacher {
    storage: GroupResource,
    prefix_len: usize,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

/// A subscription ended: the watcher was too slow, or history broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind;

/// A reader of the ring.
pub(super) struct Subscription {
    cacher: Arc<Cacher>,
    place: Place,
    next: u64,
    epoch: u64,
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl Cacher {
    pub(super) fn new(storage: GroupResource, prefix_len: usize) -> Self {
        let state = State {
            phase: Phase::Loading(Vec::new()),
            snapshot: Snapshot { revision: 0, objects: OrdMap::new() },
            loaded_at: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            next_seq: 1,
            floor: 0,
            epoch: 0,
            kept: VecDeque::new(),
            waiting: Waiting::default(),
        };
        Self { storage, prefix_len, state: Mutex::new(state), ready: watch::Sender::new(false) }
    }

    /// The key space.
    pub fn storage(&self) -> &GroupResource {
        &self.storage
    }

    /// Waits until the cache was listed.
    pub(super) async fn wait_ready(&self) -> Result<(), Status> {
        if *self.ready.borrow() {
            return Ok(());
        }
        let mut ready = self.ready.subscribe();
        match tokio::time::timeout(Duration::from_secs(30), ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Status::too_many_requests("storage is (re)initializing", 1)),
        }
    }

    /// Forgets everything: history broke. Ends all subscriptions.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Loading(Vec::new());
        state.ring.clear();
        state.ring_bytes = 0;
        state.epoch += 1;
        let waiting = state.waiting.take();
        drop(state);
        self.ready.send_replace(false);
        wake(waiting);
    }

    /// Takes over what a list at `revision` found, then what happened meanwhile.
    pub(super) fn load(&self, revision: i64, kvs: Vec<KeyValue>, now: Instant) {
        let objects = kvs.into_iter().filter_map(|kv| self.parse(&kv)).collect();
        let mut state = self.state.lock();
        let Phase::Loading(waiting) = std::mem::replace(&mut state.phase, Phase::Ready) else { return };
        state.snapshot = Snapshot { revision, objects };
        state.loaded_at = revision;
        state.floor = revision;
        state.kept.clear();
        for (at, event) in waiting.into_iter().filter(|(at, _)| *at > revision) {
            self.change(&mut state, at, &event, now);
        }
        let waiting = state.waiting.take();
        drop(state);
        self.ready.send_replace(true);
        wake(waiting);
    }

    fn local(&self, key: &Bytes) -> Option<Arc<str>> {
        std::str::from_utf8(key.get(self.prefix_len..)?).ok().map(Arc::from)
    }

    fn parse(&self, kv: &KeyValue) -> Option<(Arc<str>, Arc<StoredObject>)> {
        let key = self.local(&kv.key)?;
        match StoredObject::new(kv.mod_revision, kv.value.clone()) {
            Ok(object) => Some((key, Arc::new(object))),
            Err(error) => {
                tracing::error!(resource = %self.storage, %key, %error, "a stored object is damaged and left out");
                None
            }
        }
    }

    /// A change from before the cache's own time; nothing when what it was about can no longer be told.
    pub(super) fn past(&self, revision: i64, event: &Event, now: Instant) -> Option<Arc<CacheEvent>> {
        let previous = event.previous.as_ref().and_then(|kv| self.parse(kv)).map(|(_, object)| object);
        let (change, key, object) = match event.kind {
            EventKind::Put => {
                let (key, object) = self.parse(&event.kv)?;
                let is_new = event.kv.create_revision == event.kv.mod_revision;
                (if is_new { Change::Added } else { Change::Modified }, key, object)
            }
            EventKind::Delete => {
                let last = StoredObject::new(revision, previous.as_ref()?.raw().clone()).ok()?;
                (Change::Deleted, self.local(&event.kv.key)?, Arc::new(last))
            }
        };
        Some(Arc::new(CacheEvent::new(0, revision, change, key, object, previous, now)))
    }

    /// Applies the events of one commit.
    pub(super) fn apply(&self, revision: i64, events: &[&Event], now: Instant) {
        let mut state = self.state.lock();
        if let Phase::Loading(waiting) = &mut state.phase {
            waiting.extend(events.iter().map(|event| (revision, (*event).clone())));
            return;
        }
        if revision <= state.loaded_at {
            // The list has seen it: applying it again would show the past.
            return;
        }
        for event in events {
            self.change(&mut state, revision, event, now);
        }
        let waiting = state.waiting.take();
        drop(state);
        wake(waiting);
    }

    fn change(&self, state: &mut State, revision: i64, event: &Event, now: Instant) {
        let changed = match event.kind {
            EventKind::Put => {
                let Some((key, object)) = self.parse(&event.kv) else { return };
                let previous = state.snapshot.objects.insert(key.clone(), object.clone());
                let change = if previous.is_some() { Change::Modified } else { Change::Added };
                (change, key, object, previous)
            }
            EventKind::Delete => {
                let Some(key) = self.local(&event.kv.key) else { return };
                let Some(previous) = state.snapshot.objects.remove(&*key) else { return };
                let Ok(object) = StoredObject::new(revision, previous.raw().clone()) else { return };
                (Change::Deleted, key, Arc::new(object), Some(previous))
            }
        };
        state.snapshot.revision = revision;
        let (change, key, object, previous) = changed;
        state.ring_bytes += object.raw().len();
        let seq = state.next_seq;
        state.next_seq += 1;
        state.ring.push_back(Arc::new(CacheEvent::new(seq, revision, change, key, object, previous, now)));
        state.trim(now);
    }

    /// The objects as they are now. Its revision is that of the key space's last change; the caller raises it to
    /// the revision that the feed had reached before.
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().snapshot.clone()
    }

    /// How much there is: for estimates, so the size is that of a few objects.
    pub(super) fn load_now(&self) -> Load {
        const SAMPLE: usize = 8;
        let (objects, watchers) = {
            let state = self.state.lock();
            (state.snapshot.objects.clone(), state.waiting.watchers())
        };
        let bytes: usize = objects.values().take(SAMPLE).map(|object| object.raw().len()).sum();
        Load { objects: objects.len(), average_bytes: bytes / objects.len().clamp(1, SAMPLE), watchers }
    }

    /// One object as it is now.
    pub fn get(&self, key: &str) -> Option<Arc<StoredObject>> {
        self.state.lock().snapshot.objects.get(key).cloned()
    }

    /// Keeps a snapshot for the next page of a list.
    pub(super) fn keep(&self, snapshot: Snapshot, now: Instant) {
        let mut state = self.state.lock();
        state.kept.retain(|(at, kept)| {
            kept.revision != snapshot.revision && now.saturating_duration_since(*at) < SNAPSHOT_LIFE
        });
        if state.kept.len() >= MAX_SNAPSHOTS {
            state.kept.pop_front();
        }
        state.kept.push_back((now, snapshot));
    }

    /// A snapshot kept for the next page.
    pub(super) fn kept(&self, revision: i64) -> Option<Snapshot> {
        let state = self.state.lock();
        state.kept.iter().find(|(_, kept)| kept.revision == revision).map(|(_, kept)| kept.clone())
    }

    /// Subscribes to events after `revision`; `Err` carries the oldest possible revision.
    pub(super) fn subscribe(self: &Arc<Self>, revision: i64) -> Result<Subscription, i64> {
        let mut state = self.state.lock();
        if revision < state.floor {
            return Err(state.floor);
        }
        let skipped = state.ring.partition_point(|event| event.revision <= revision);
        let next = state.ring.get(skipped).map_or(state.next_seq, |event| event.seq);
        let (epoch, place) = (state.epoch, state.waiting.enter());
        drop(state);
        Ok(Subscription { cacher: self.clone(), place, next, epoch })
    }

    /// A snapshot, and a subscription to everything after it.
    pub(super) fn snapshot_and_subscribe(self: &Arc<Self>) -> (Snapshot, Subscription) {
        let mut state = self.state.lock();
        let (next, epoch, place) = (state.next_seq, state.epoch, state.waiting.enter());
        let snapshot = state.snapshot.clone();
        drop(state);
        (snapshot, Subscription { cacher: self.clone(), place, next, epoch })
    }
}

impl State {
    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.ring.front() {
            let len = self.ring.len();
            let old = now.saturating_duration_since(oldest.at) > WINDOW;
            if !(len > MAX_EVENTS || (len > MIN_EVENTS && (old || self.ring_bytes > MAX_BYTES))) {
                break;
            }
            self.floor = oldest.revision;
            self.ring_bytes -= oldest.object.raw().len();
            self.ring.pop_front();
        }
    }
}

impl Subscription {
    /// Appends at most `max` events that are due now. When there are none the watcher has seen everything, and
    /// `waker` is woken by the next one.
    pub(super) fn take(
        &mut self,
        max: usize,
        into: &mut Vec<Arc<CacheEvent>>,
        waker: &Waker,
    ) -> Result<(), Behind> {
        let mut state = self.cacher.state.lock();
        if state.epoch != self.epoch || matches!(state.phase, Phase::Loading(_)) {
            return Err(Behind);
        }
        if self.next == state.next_seq {
            state.waiting.wait(self.place, waker);
            return Ok(());
        }
        let first = state.next_seq - state.ring.len() as u64;
        if self.next < first {
            return Err(Behind);
        }
        let skip = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let end = state.ring.len().min(skip.saturating_add(max));
        into.extend(state.ring.range(skip.min(end)..end).cloned());
        drop(state);
        self.next += (end - skip.min(end)) as u64;
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.cacher.state.lock().waiting.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(name: &str, revision: i64) -> KeyValue {
        let value = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","uid":"{revision}"}}}}"#
        );
        KeyValue {
            key: Bytes::from(format!("/registry/pods/{name}")),
            value: value.into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    fn put(name: &str, revision: i64) -> Event {
        Event { kind: EventKind::Put, kv: kv(name, revision), previous: None }
    }

    fn cacher() -> Arc<Cacher> {
        Arc::new(Cacher::new(GroupResource::new("", "pods"), "/registry/pods/".len()))
    }

    #[test]
    fn what_the_list_has_seen_is_not_applied_again() {
        let (cacher, now) = (cacher(), Instant::now());
        cacher.apply(10, &[&put("a", 10)], now);
        cacher.apply(13, &[&put("b", 13)], now);
        cacher.load(12, vec![kv("a", 12)], now);
        cacher.apply(11, &[&put("a", 11)], now);
        assert_eq!(cacher.get("a").map(|object| object.revision()), Some(12));
        assert_eq!(cacher.get("b").map(|object| object.revision()), Some(13));
    }

    #[test]
    fn a_watcher_that_the_ring_has_passed_is_cut_off() {
        let (cacher, start) = (cacher(), Instant::now());
        cacher.load(1, Vec::new(), start);
        let mut slow = cacher.subscribe(1).ok().unwrap();
        let later = start + WINDOW * 2;
        for revision in 2..(3 + MIN_EVENTS as i64) {
            cacher.apply(revision, &[&put("a", revision)], start);
        }
        let (mut taken, waker) = (Vec::new(), futures::task::noop_waker());
        slow.take(1, &mut taken, &waker).unwrap();
        assert_eq!(taken.len(), 1);
        cacher.apply(1000, &[&put("a", 1000)], later);
        assert_eq!(slow.take(1, &mut taken, &waker).err(), Some(Behind));
        assert!(cacher.subscribe(1).is_err(), "what is no longer in the ring cannot be resumed from");
        taken.clear();
        cacher.subscribe(999).ok().unwrap().take(10, &mut taken, &waker).unwrap();
        assert_eq!(taken.len(), 1);
    }
}
