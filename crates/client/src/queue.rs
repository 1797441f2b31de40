//! [`WorkQueue`]: the queue between event handlers and reconcilers. A key that is added twice is processed once,
//! and one key is never in flight twice: an add during processing is kept until the key is done.

use crate::backoff::{exponential, jittered};
use component::SharedClock;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A queue of keys. Clones share it; every method may be called concurrently.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        write!(f, "WorkQueue(ready {}, in flight {})", state.ready.len(), state.in_flight.len())
    }
}

struct Shared<T> {
    clock: SharedClock,
    limits: Limits,
    state: Mutex<State<T>>,
    changed: Notify,
}

/// How fast a failing key comes back.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Delay after the first failure.
    pub base: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Part of the delay that is added at random.
    pub jitter: f64,
}

impl Default for Limits {
    /// Upstream's controller defaults: 5 ms doubling to 1000 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(1000), jitter: 0.1 }
    }
}

struct State<T> {
    /// Keys to hand out, in order.
    ready: VecDeque<T>,
    /// Keys that need processing: those in `ready`, and those added while in flight.
    dirty: HashSet<T>,
    in_flight: HashSet<T>,
    /// Delayed keys by due time; stale entries are recognised by `due`.
    later: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed: HashMap<u64, T>,
    due: HashMap<T, (Instant, u64)>,
    next_id: u64,
    failures: HashMap<T, u32>,
    closed: bool,
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) || self.in_flight.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    /// Makes due keys ready; returns when the next one is due.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, id))) = self.later.peek().copied() {
            if self.delayed.contains_key(&id) && at > now {
                return Some(at);
            }
            self.later.pop();
            if let Some(key) = self.delayed.remove(&id) {
                self.due.remove(&key);
                self.add(key);
            }
        }
        None
    }

    fn schedule(&mut self, key: T, at: Instant) -> bool {
        if self.closed {
            return false;
        }
        if let Some((old, id)) = self.due.get(&key).copied() {
            if old <= at {
                return false;
            }
            self.delayed.remove(&id);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.due.insert(key.clone(), (at, id));
        self.delayed.insert(id, key);
        self.later.push(Reverse((at, id)));
        true
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> WorkQueue<T> {
    /// An empty queue with upstream's default limits.
    pub fn new(clock: SharedClock) -> Self {
        Self::with_limits(clock, Limits::default())
    }

    /// An empty queue.
    pub fn with_limits(clock: SharedClock, limits: Limits) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            in_flight: HashSet::new(),
            later: BinaryHeap::new(),
            delayed: HashMap::new(),
            due: HashMap::new(),
            next_id: 0,
            failures: HashMap::new(),
            closed: false,
        };
        Self { shared: Arc::new(Shared { clock, limits, state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Adds a key, unless it waits already.
    pub fn add(&self, key: T) {
        if self.shared.state.lock().add(key) {
            self.shared.changed.notify_one();
        }
    }

    /// Adds a key after `delay`; of several delays the shortest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = self.shared.clock.instant() + delay;
        if self.shared.state.lock().schedule(key, at) {
            self.shared.changed.notify_one();
        }
    }

    /// Adds a key after a delay that doubles with each call until [`WorkQueue::forget`]. Returns the delay.
    pub fn add_rate_limited(&self, key: T) -> Duration {
        let limits = self.shared.limits;
        let attempt = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let attempt = *failures;
            *failures = failures.saturating_add(1);
            attempt
        };
        let delay = jittered(exponential(limits.base, limits.max, attempt), limits.jitter);
        self.add_after(key, delay);
        delay
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often a key was added rate limited since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// How many keys wait to be handed out now.
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Whether no key waits to be handed out now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing waits and nothing is in flight. Delayed keys do not count.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.state.lock();
        state.dirty.is_empty() && state.in_flight.is_empty()
    }

    /// Waits for a key. `None` after [`WorkQueue::shut_down`], once all ready keys were handed out. Every key must
    /// be given back with [`WorkQueue::done`].
    pub async fn get(&self) -> Option<T> {
        loop {
            let changed = self.shared.changed.notified();
            let now = self.shared.clock.instant();
            let next = {
                let mut state = self.shared.state.lock();
                let next = state.promote(now);
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.in_flight.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.shared.changed.notify_one();
                    }
                    return Some(key);
                }
                if state.closed {
                    // Passed on: every waiting worker has to see it.
                    self.shared.changed.notify_one();
                    return None;
                }
                next
            };
            match next {
                None => changed.await,
                Some(at) => {
                    let sleep = self.shared.clock.sleep(at.saturating_duration_since(now));
                    tokio::select! {
                        () = changed => {}
                        () = sleep => {}
                    }
                }
            }
        }
    }

    /// Gives a key back. If it was added meanwhile, it becomes ready again.
    pub fn done(&self, key: &T) {
        let mut state = self.shared.state.lock();
        state.in_flight.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            self.shared.changed.notify_one();
        }
    }

    /// Takes no more keys and lets every waiting [`WorkQueue::get`] end.
    pub fn shut_down(&self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::clock::FakeClock;
    use std::time::SystemTime;

    fn queue() -> (Arc<FakeClock>, WorkQueue<&'static str>) {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH);
        let limits = Limits { base: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.0 };
        (clock.clone(), WorkQueue::with_limits(clock, limits))
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("did not happen in time")
    }

    #[tokio::test]
    async fn a_key_in_flight_waits_until_done() {
        let (_, queue) = queue();
        queue.add("a");
        queue.add("a");
        assert_eq!(soon(queue.get()).await, Some("a"));
        queue.add("a");
        queue.add("b");
        assert_eq!(soon(queue.get()).await, Some("b"));
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(soon(queue.get()).await, Some("a"));
        queue.done(&"a");
        queue.done(&"b");
        assert!(queue.is_idle());
    }

    #[tokio::test]
    async fn failures_back_off_until_forgotten() {
        let (clock, queue) = queue();
        let delays: Vec<_> = (0..3).map(|_| queue.add_rate_limited("a").as_secs()).collect();
        assert_eq!(delays, [1, 2, 4]);
        assert_eq!(queue.failures(&"a"), 3);
        let getting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.get().await }
        });
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        // The shortest of the delays counts, and the key comes once.
        clock.advance(Duration::from_secs(1));
        assert_eq!(soon(getting).await.unwrap(), Some("a"));
        queue.done(&"a");
        clock.advance(Duration::from_secs(60));
        queue.forget(&"a");
        assert_eq!(queue.add_rate_limited("a").as_secs(), 1);
    }

    #[tokio::test]
    async fn shutting_down_ends_every_worker() {
        let (_, queue) = queue();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.shut_down();
        for worker in workers {
            assert_eq!(soon(worker).await.unwrap(), None);
        }
        queue.add("late");
        assert_eq!(soon(queue.get()).await, None);
    }
}
