//! [`Hub`]: hands durable changes to the watchers that cover them.
//!
//! One thread of its own follows history, so that the writer only rings a bell however many watchers there are.
//! A watcher whose queue is full is left alone and reads from history until it has caught up: it costs nobody
//! anything.

use super::history::History;
use super::interval::Intervals;
use super::node::Changes;
use super::view::Keys;
use crate::kv::Revision;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Commits that are handed out at a time: whoever begins or ends a watch waits so long.
const CHUNK: usize = 32;

/// What waits for one watcher.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) commits: VecDeque<Arc<Changes>>,
    /// The watcher has to read history from here on, after `commits`; nothing is queued meanwhile.
    pub(crate) behind: Option<Revision>,
    /// Everything up to here that it covers was queued; 0 until progress is due.
    pub(crate) progress: Revision,
    pub(crate) is_closed: bool,
    pub(crate) waker: Option<Waker>,
}

/// A watcher, shared by its stream and the hub.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) id: u64,
    pub(crate) keys: Keys,
    pub(crate) wants_progress: bool,
    pub(crate) queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Group {
    watchers: Vec<Arc<Watcher>>,
    /// The last revision handed to it.
    handed: Revision,
}

#[derive(Debug)]
struct Inner {
    /// Everything up to here was handed out.
    position: Revision,
    watchers: BTreeMap<u64, Arc<Watcher>>,
    next_id: u64,
    index: Intervals,
    groups: Vec<Group>,
    is_stale: bool,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Bell {
    rung: bool,
    closed: bool,
}

/// Hands durable changes to the watchers that cover them.
#[derive(Debug)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    bell: Mutex<Bell>,
    ring: Condvar,
    buffer: usize,
}

impl Hub {
    /// A hub that starts after `position` and lets `buffer` commits wait for each watcher.
    pub(crate) fn new(position: Revision, buffer: usize) -> Self {
        let inner = Inner {
            position,
            watchers: BTreeMap::new(),
            next_id: 1,
            index: Intervals::default(),
            groups: Vec::new(),
            is_stale: false,
            is_closed: false,
        };
        Self { inner: Mutex::new(inner), bell: Mutex::default(), ring: Condvar::new(), buffer: buffer.max(1) }
    }

    /// Number of watchers.
    pub(crate) fn watchers(&self) -> usize {
        self.inner.lock().watchers.len()
    }

    /// There is new history.
    pub(crate) fn notify(&self) {
        self.bell.lock().rung = true;
        self.ring.notify_one();
    }

    /// Ends all watches and the thread.
    pub(crate) fn close(&self) {
        self.bell.lock().closed = true;
        self.ring.notify_all();
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        for watcher in inner.watchers.values() {
            let mut queue = watcher.queue.lock();
            queue.is_closed = true;
            wake(&mut queue);
        }
    }

    /// Adds a watcher that wants everything from `next` on.
    pub(crate) fn register(&self, keys: Keys, next: Revision, wants_progress: bool) -> Arc<Watcher> {
        let mut inner = self.inner.lock();
        let behind = (next <= inner.position).then_some(next);
        let queue = Queue { behind, is_closed: inner.is_closed, ..Queue::default() };
        let id = inner.next_id;
        inner.next_id += 1;
        let watcher = Arc::new(Watcher { id, keys, wants_progress, queue: Mutex::new(queue) });
        inner.watchers.insert(id, watcher.clone());
        inner.is_stale = true;
        watcher
    }

    /// Removes a watcher.
    pub(crate) fn unregister(&self, id: u64) {
        let mut inner = self.inner.lock();
        inner.watchers.remove(&id);
        inner.is_stale = true;
    }

    /// A watcher that was behind has read everything before `next`. If that is all there is, changes are queued
    /// for it again and the answer is `true`.
    pub(crate) fn rejoin(&self, watcher: &Watcher, next: Revision) -> bool {
        let inner = self.inner.lock();
        if next <= inner.position {
            return false;
        }
        let mut queue = watcher.queue.lock();
        queue.behind = None;
        queue.progress = queue.progress.max(next - 1);
        true
    }

    /// Hands out what history has, then progress, until closed. `interval` is the least time between two rounds
    /// of progress.
    pub(crate) fn run(&self, history: &History, interval: Duration) {
        let mut last_progress: Option<Instant> = None;
        let mut is_owed = false;
        loop {
            let due = is_owed.then(|| last_progress.map_or_else(Instant::now, |last| last + interval));
            let mut bell = self.bell.lock();
            while !bell.rung && !bell.closed {
                match due {
                    None => self.ring.wait(&mut bell),
                    Some(at) if self.ring.wait_until(&mut bell, at).timed_out() => break,
                    Some(_) => {}
                }
            }
            if bell.closed {
                return;
            }
            is_owed |= std::mem::take(&mut bell.rung);
            drop(bell);
            while self.hand_out(history) {}
            if is_owed && last_progress.is_none_or(|last| last.elapsed() >= interval) {
                self.progress();
                last_progress = Some(Instant::now());
                is_owed = false;
            }
        }
    }

    /// Hands out one portion; `false` when there is no more.
    pub(crate) fn hand_out(&self, history: &History) -> bool {
        let inner = &mut *self.inner.lock();
        let chunk = match history.read(inner.position + 1, CHUNK) {
            Ok(chunk) => chunk,
            Err(_) => {
                // Compaction has overtaken this thread: whoever waits finds out from history.
                for watcher in inner.watchers.values() {
                    let mut queue = watcher.queue.lock();
                    queue.behind.get_or_insert(inner.position + 1);
                    wake(&mut queue);
                }
                inner.position = history.oldest_watchable() - 1;
                return true;
            }
        };
        if inner.is_stale {
            inner.rebuild();
        }
        for changes in &chunk {
            inner.dispatch(changes, self.buffer);
        }
        chunk.len() == CHUNK
    }

    /// Tells the watchers that asked for it how far they have seen.
    pub(crate) fn progress(&self) {
        let inner = self.inner.lock();
        for watcher in inner.watchers.values().filter(|watcher| watcher.wants_progress) {
            let mut queue = watcher.queue.lock();
            if queue.behind.is_none() && queue.progress < inner.position {
                queue.progress = inner.position;
                wake(&mut queue);
            }
        }
    }
}

fn wake(queue: &mut Queue) {
    if let Some(waker) = queue.waker.take() {
        waker.wake();
    }
}

impl Inner {
    fn rebuild(&mut self) {
        let mut by_keys: HashMap<&Keys, Vec<Arc<Watcher>>> = HashMap::new();
        for watcher in self.watchers.values() {
            by_keys.entry(&watcher.keys).or_default().push(watcher.clone());
        }
        let index = Intervals::new(by_keys.keys().map(|keys| (*keys).clone()).collect());
        let groups = index.ranges().iter().map(|keys| by_keys.remove(keys).unwrap_or_default());
        self.groups = groups.map(|watchers| Group { watchers, handed: 0 }).collect();
        self.index = index;
        self.is_stale = false;
    }

    fn dispatch(&mut self, changes: &Arc<Changes>, buffer: usize) {
        let Self { index, groups, position, .. } = self;
        for node in &changes.nodes {
            index.find(&node.kv.key, &mut |at| {
                let group = &mut groups[at];
                if group.handed == changes.revision {
                    return;
                }
                group.handed = changes.revision;
                group.watchers.iter().for_each(|watcher| push(watcher, changes, buffer));
            });
        }
        *position = changes.revision;
    }
}

fn push(watcher: &Watcher, changes: &Arc<Changes>, buffer: usize) {
    let mut queue = watcher.queue.lock();
    if queue.behind.is_some() {
        return;
    }
    if queue.commits.len() >= buffer {
        queue.behind = Some(changes.revision);
    } else {
        queue.commits.push_back(changes.clone());
    }
    wake(&mut queue);
}
