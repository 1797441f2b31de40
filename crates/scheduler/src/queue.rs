//! The scheduling queue: pods to try now, pods that wait out a back-off, and pods that wait for the cluster to
//! change in a way that may help them.

use crate::cache::PodInfo;
use crate::framework::{ClusterEvent, Framework};
use client::ObjectKey;
use component::SharedClock;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// First and longest back-off after an attempt that failed (podInitialBackoffSeconds, podMaxBackoffSeconds).
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// However little happens, an unschedulable pod is tried again after this time.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);

/// A pod in the queue.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    /// The pod.
    pub info: Arc<PodInfo>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was first seen: pods of one priority are tried in this order.
    first_seen: u64,
    /// Cluster events seen before this attempt; later ones may have been missed by it.
    seen: u64,
}

#[derive(Debug)]
struct Waiting {
    pod: QueuedPod,
    plugins: BTreeSet<&'static str>,
    since: Instant,
    backoff_until: Instant,
}

/// Highest priority first, then oldest.
type Rank = (Reverse<i32>, u64);

#[derive(Debug, Default)]
struct State {
    active: BTreeMap<Rank, QueuedPod>,
    backoff: BTreeMap<(Instant, u64), QueuedPod>,
    waiting: HashMap<ObjectKey, Waiting>,
    /// Which of the three a pod is in.
    place: HashMap<ObjectKey, Place>,
    /// Pods that an attempt is going on for.
    in_flight: HashMap<ObjectKey, u64>,
    arrivals: u64,
    /// Events since the oldest attempt in flight began, numbered.
    events: Vec<(u64, ClusterEvent)>,
    event_count: u64,
}

#[derive(Clone, Debug)]
enum Place {
    Active(Rank),
    Backoff((Instant, u64)),
    Waiting,
}

/// The queue; shared by reference. Never blocks longer than a map operation.
pub struct SchedulingQueue {
    state: Mutex<State>,
    changed: Notify,
    framework: Arc<Framework>,
    clock: SharedClock,
}

impl State {
    fn take(&mut self, key: &ObjectKey) -> Option<(QueuedPod, Option<Waiting>)> {
        match self.place.remove(key)? {
            Place::Active(rank) => self.active.remove(&rank).map(|pod| (pod, None)),
            Place::Backoff(at) => self.backoff.remove(&at).map(|pod| (pod, None)),
            Place::Waiting => self.waiting.remove(key).map(|waiting| (waiting.pod.clone(), Some(waiting))),
        }
    }

    fn activate(&mut self, pod: QueuedPod) {
        let (rank, key) = ((Reverse(pod.info.priority()), pod.first_seen), pod.info.key());
        self.place.insert(key, Place::Active(rank));
        self.active.insert(rank, pod);
    }

    fn back_off(&mut self, pod: QueuedPod, until: Instant) {
        let (at, key) = ((until, pod.first_seen), pod.info.key());
        self.place.insert(key, Place::Backoff(at));
        self.backoff.insert(at, pod);
    }

    fn wait(&mut self, waiting: Waiting) {
        let key = waiting.pod.info.key();
        self.place.insert(key.clone(), Place::Waiting);
        self.waiting.insert(key, waiting);
    }

    fn release(&mut self, waiting: Waiting, now: Instant) {
        if waiting.backoff_until > now {
            self.back_off(waiting.pod, waiting.backoff_until);
        } else {
            self.activate(waiting.pod);
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    INITIAL_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX_BACKOFF)
}

impl SchedulingQueue {
    /// An empty queue.
    pub fn new(framework: Arc<Framework>, clock: SharedClock) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), framework, clock }
    }

    /// A pod without a node is new, or changed.
    pub fn update(&self, info: Arc<PodInfo>) {
        let key = info.key();
        let gated =
            self.framework.pre_enqueue.iter().find_map(|p| p.pre_enqueue(&info).err().map(|_| p.name()));
        let now = self.clock.instant();
        let mut state = self.state.lock();
        let known = state.take(&key);
        if known.is_none() && state.in_flight.contains_key(&key) {
            // The attempt's outcome decides; it will see that the pod changed.
            state.event_count += 1;
            let number = state.event_count;
            state.events.push((number, ClusterEvent::PodUpdated));
            return;
        }
        let mut pod = known.as_ref().map(|(pod, _)| pod.clone()).unwrap_or_else(|| {
            state.arrivals += 1;
            QueuedPod { info: info.clone(), attempts: 0, first_seen: state.arrivals, seen: 0 }
        });
        let same_spec =
            pod.info.pod.spec == info.pod.spec && pod.info.pod.metadata.labels == info.pod.metadata.labels;
        pod.info = info;
        match (gated, known) {
            (Some(plugin), _) => {
                let plugins = BTreeSet::from([plugin]);
                state.wait(Waiting { pod, plugins, since: now, backoff_until: now });
            }
            // A status update (our own, most likely) does not make it schedulable.
            (None, Some((_, Some(waiting)))) if same_spec && waiting.pod.attempts > 0 => {
                state.wait(Waiting { pod, ..waiting });
            }
            (None, _) => {
                state.activate(pod);
                self.changed.notify_one();
            }
        }
    }

    /// A pod is gone, or has a node.
    pub fn remove(&self, key: &ObjectKey) {
        self.state.lock().take(key);
    }

    /// The next pod to try; waits for one. Call [`SchedulingQueue::done`] or [`SchedulingQueue::failed`] after.
    pub async fn next(&self) -> QueuedPod {
        loop {
            let changed = self.changed.notified();
            let wake_at = {
                let now = self.clock.instant();
                let mut state = self.state.lock();
                self.release_due(&mut state, now);
                if let Some((_, mut pod)) = state.active.pop_first() {
                    let key = pod.info.key();
                    state.place.remove(&key);
                    pod.attempts += 1;
                    pod.seen = state.event_count;
                    state.in_flight.insert(key, pod.seen);
                    return pod;
                }
                next_due(&state).map(|at| at.saturating_duration_since(now))
            };
            match wake_at {
                None => changed.await,
                Some(delay) => {
                    tokio::select! {
                        () = changed => {}
                        () = self.clock.sleep(delay) => {}
                    }
                }
            }
        }
    }

    fn release_due(&self, state: &mut State, now: Instant) {
        while state.backoff.first_key_value().is_some_and(|((until, _), _)| *until <= now) {
            if let Some((_, pod)) = state.backoff.pop_first() {
                state.activate(pod);
            }
        }
        let stale: Vec<ObjectKey> = state
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.pod.attempts > 0 && now >= waiting.since + MAX_UNSCHEDULABLE)
            .map(|(key, _)| key.clone())
            .collect();
        for key in stale {
            if let Some((_, Some(waiting))) = state.take(&key) {
                state.release(waiting, now);
            }
        }
    }

    /// The attempt found a node.
    pub fn done(&self, key: &ObjectKey) {
        self.end_attempt(&mut self.state.lock(), key);
    }

    fn end_attempt(&self, state: &mut State, key: &ObjectKey) {
        state.in_flight.remove(key);
        let oldest = state.in_flight.values().min().copied().unwrap_or(u64::MAX);
        state.events.retain(|(number, _)| *number > oldest);
        if state.in_flight.is_empty() {
            state.events.clear();
        }
    }

    /// The attempt found none because of `plugins`: wait for an event that may help. With no plugins (an error,
    /// not a verdict) try again after the back-off.
    pub fn failed(&self, pod: QueuedPod, plugins: BTreeSet<&'static str>) {
        let now = self.clock.instant();
        let key = pod.info.key();
        let backoff_until = now + backoff(pod.attempts);
        let mut state = self.state.lock();
        let missed = plugins.is_empty()
            || state
                .events
                .iter()
                .any(|(number, event)| *number > pod.seen && self.framework.may_help(&plugins, *event));
        self.end_attempt(&mut state, &key);
        if missed {
            state.back_off(pod, backoff_until);
        } else {
            state.wait(Waiting { pod, plugins, since: now, backoff_until });
        }
        self.changed.notify_one();
    }

    /// Something happened: pods that it may help are tried again.
    pub fn notify(&self, event: ClusterEvent) {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        if !state.in_flight.is_empty() {
            state.event_count += 1;
            let number = state.event_count;
            state.events.push((number, event));
        }
        let helped: Vec<ObjectKey> = state
            .waiting
            .iter()
            .filter(|(_, waiting)| self.framework.may_help(&waiting.plugins, event))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &helped {
            if let Some((_, Some(waiting))) = state.take(key) {
                state.release(waiting, now);
            }
        }
        if !helped.is_empty() {
            self.changed.notify_one();
        }
    }

    /// How many pods are to be tried, back off, and wait: the `scheduler_pending_pods` metric.
    pub fn pending(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        (state.active.len(), state.backoff.len(), state.waiting.len())
    }
}

fn next_due(state: &State) -> Option<Instant> {
    let backoff = state.backoff.first_key_value().map(|((until, _), _)| *until);
    let waiting = state
        .waiting
        .values()
        .filter(|w| w.pod.attempts > 0)
        .map(|waiting| waiting.since + MAX_UNSCHEDULABLE)
        .min();
    backoff.into_iter().chain(waiting).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{Cycle, Filter, Plugin, Rejection};
    use api::Kind;
    use component::clock::FakeClock;
    use k8s_openapi::api::core::v1::Pod;
    use std::time::SystemTime;

    /// Rejects nothing itself; wakes pods that it is said to have rejected when a node is added.
    struct NeedsNode;

    impl Plugin for NeedsNode {
        fn name(&self) -> &'static str {
            "NeedsNode"
        }
        fn may_help(&self, event: ClusterEvent) -> bool {
            event == ClusterEvent::NodeAdded
        }
    }

    impl Filter for NeedsNode {
        fn filter(&self, _: &Cycle, _: &crate::cache::NodeInfo) -> Result<(), Rejection> {
            Ok(())
        }
    }

    fn queue() -> (Arc<FakeClock>, SchedulingQueue) {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH);
        let framework = Framework { filter: vec![Arc::new(NeedsNode)], ..Framework::default() };
        (clock.clone(), SchedulingQueue::new(Arc::new(framework), clock))
    }

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let pod = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"n","name":"{name}"}},
            "spec":{{"containers":[],"priority":{priority}}}}}"#
        );
        Arc::new(PodInfo::new(Arc::new(Pod::from_json(pod.as_bytes()).unwrap())))
    }

    fn name(pod: &QueuedPod) -> String {
        pod.info.key().name.to_string()
    }

    #[tokio::test]
    async fn priority_first_then_age() {
        let (_, queue) = queue();
        for (name, priority) in [("old", 0), ("young", 0), ("urgent", 10)] {
            queue.update(pod(name, priority));
        }
        let order = [name(&queue.next().await), name(&queue.next().await), name(&queue.next().await)];
        assert_eq!(order, ["urgent", "old", "young"]);
    }

    #[tokio::test]
    async fn unschedulable_pods_wait_for_an_event_that_may_help() {
        let (clock, queue) = queue();
        queue.update(pod("p", 0));
        let tried = queue.next().await;
        queue.failed(tried, BTreeSet::from(["NeedsNode"]));
        queue.notify(ClusterEvent::PodGone);
        assert_eq!(queue.pending(), (0, 0, 1), "a pod that is gone does not help");
        queue.notify(ClusterEvent::NodeAdded);
        assert_eq!(queue.pending(), (0, 1, 0), "the back-off of a failed attempt is waited out");
        clock.advance(Duration::from_secs(1));
        assert_eq!(queue.next().await.attempts, 2);
    }

    #[tokio::test]
    async fn events_during_an_attempt_are_not_lost() {
        let (clock, queue) = queue();
        queue.update(pod("p", 0));
        let tried = queue.next().await;
        queue.notify(ClusterEvent::NodeAdded);
        queue.failed(tried, BTreeSet::from(["NeedsNode"]));
        assert_eq!(queue.pending(), (0, 1, 0));
        clock.advance(Duration::from_secs(1));
        queue.next().await;
    }

    #[tokio::test]
    async fn nothing_waits_for_ever() {
        let (clock, queue) = queue();
        queue.update(pod("p", 0));
        let tried = queue.next().await;
        queue.failed(tried, BTreeSet::from(["NeedsNode"]));
        clock.advance(MAX_UNSCHEDULABLE);
        assert_eq!(queue.next().await.attempts, 2);
    }
}
