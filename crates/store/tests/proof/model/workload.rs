//! Seeded clients and watchers over any [`Store`], with everything recorded. They know nothing of the backend: it
//! may be gone for a while, lose answers, or refuse.

use super::{Answer, Random, Recorder, Request, WatchEnd, to_the_end};
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::{Compare, KeyValue, LeaseId, Op, RangeOptions, Revision, Store, StoreError, Txn, WatchStream};

/// Where the clients live.
pub(crate) trait World {
    /// The store, unless it is down.
    fn store(&self) -> Option<Arc<dyn Store>>;
    /// The time that leases live in; never goes back.
    fn now(&self) -> Duration;
    /// Waits about so long.
    fn pause(&self, time: Duration) -> LocalBoxFuture<'static, ()>;
}

/// How much of what.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    /// Requests of each client.
    pub(crate) operations: usize,
    /// Beside the one that watches everything.
    pub(crate) watchers: usize,
    /// Longest pause between two requests.
    pub(crate) think: Duration,
    /// Largest value in bytes.
    pub(crate) value: u64,
    /// Shortest and longest lease in seconds.
    pub(crate) ttl: (u64, u64),
    /// One in so many requests is given up before its answer; 0 is none.
    pub(crate) abandon: u64,
    /// Begin all keys.
    pub(crate) prefix: &'static str,
    /// What the store has seen before, by the same recorder.
    pub(crate) from: Revision,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 0,
            clients: 4,
            operations: 40,
            watchers: 4,
            think: Duration::from_millis(2000),
            value: 100,
            ttl: (3, 60),
            abandon: 20,
            prefix: "",
            from: 1,
        }
    }
}

/// Keys that clients quarrel about.
const KEYS: [&str; 8] = ["a/0", "a/1", "a/2", "a/3", "b/0", "b/1", "b/2", "b/3"];

struct Shared {
    world: Rc<dyn World>,
    recorder: Rc<Recorder>,
    plan: Plan,
    /// Clients that have not finished.
    clients: Cell<usize>,
    watchers: Cell<usize>,
    /// Watchers may stop once they have seen this.
    until: Cell<Option<Revision>>,
    /// So may the one that watches everything.
    end: Cell<Option<Revision>>,
    /// What the watcher of everything has seen.
    observed: Cell<Revision>,
    leases: RefCell<Vec<LeaseId>>,
    next_lease: Cell<LeaseId>,
}

/// The tasks of a workload; it is over when all have ended.
pub(crate) fn tasks(
    world: Rc<dyn World>,
    recorder: Rc<Recorder>,
    plan: Plan,
) -> Vec<LocalBoxFuture<'static, ()>> {
    let mut random = Random::new(plan.seed);
    let shared = Rc::new(Shared {
        world,
        recorder,
        clients: Cell::new(plan.clients),
        watchers: Cell::new(plan.watchers + 1),
        until: Cell::new(None),
        end: Cell::new(None),
        observed: Cell::new(plan.from),
        leases: RefCell::default(),
        // Unlike the ids of other runs on the same store.
        next_lease: Cell::new(1 + (random.below(1 << 40) << 16) as LeaseId),
        plan,
    });
    let mut tasks = vec![observe(shared.clone()).boxed_local()];
    for _ in 0..shared.plan.watchers {
        tasks.push(watch(shared.clone(), Random::new(random.number())).boxed_local());
    }
    for number in 0..shared.plan.clients {
        let random = Random::new(random.number());
        let revision = shared.plan.from;
        let client = Client { shared: shared.clone(), number, random, seen: Vec::new(), revision, writes: 0 };
        tasks.push(client.run().boxed_local());
    }
    tasks.push(finale(shared).boxed_local());
    tasks
}

impl Shared {
    fn key(&self, random: &mut Random) -> Bytes {
        let key = KEYS[random.below(KEYS.len() as u64) as usize];
        format!("{}{key}", self.plan.prefix).into()
    }

    /// Some range.
    fn range(&self, random: &mut Random) -> (Bytes, Option<Bytes>) {
        let named = |key: &str| Bytes::from(format!("{}{key}", self.plan.prefix));
        match random.below(5) {
            0 => (self.key(random), None),
            1 => (named("a/"), Some(named("a0"))),
            2 => (named("b/1"), Some(named("b/3"))),
            3 => (named("a/2"), Some(named("b/2"))),
            _ => self.all(),
        }
    }

    /// The range that holds everything; of the whole store unless others work on it, too.
    fn all(&self) -> (Bytes, Option<Bytes>) {
        (Bytes::new(), to_the_end())
    }

    async fn pause(&self, random: &mut Random, most: Duration) {
        let millis = most.as_millis() as u64 + 1;
        self.world.pause(Duration::from_millis(random.below(millis))).await;
    }

    /// Records a question and its answer.
    async fn ask<T>(
        &self,
        client: usize,
        request: Request,
        answer: impl Future<Output = Result<T, StoreError>>,
        say: impl FnOnce(&T) -> Answer,
    ) -> Option<T> {
        let ticket = self.recorder.call(client, self.world.now(), request);
        let answer = answer.await;
        let said = match &answer {
            Ok(value) => say(value),
            Err(error) if is_definite(error) => Answer::Refused(error.clone()),
            Err(_) => Answer::Unknown,
        };
        self.recorder.done(ticket, self.world.now(), said);
        answer.ok()
    }
}

/// Whether an error says that nothing was done.
fn is_definite(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Compacted { .. }
            | StoreError::Future { .. }
            | StoreError::LeaseNotFound
            | StoreError::LeaseExists
            | StoreError::Invalid(_)
            | StoreError::NoSpace { .. }
    )
}

struct Client {
    shared: Rc<Shared>,
    number: usize,
    random: Random,
    /// What it read last.
    seen: Vec<KeyValue>,
    revision: Revision,
    writes: u64,
}

impl Client {
    async fn run(mut self) {
        let shared = self.shared.clone();
        let mut left = shared.plan.operations;
        while left > 0 {
            shared.pause(&mut self.random, shared.plan.think).await;
            let Some(store) = shared.world.store() else { continue };
            left -= 1;
            match self.random.below(100) {
                0..55 => self.txn(&store).await,
                55..84 => self.range(&store).await,
                84..86 => self.compact(&store).await,
                86..88 => {
                    let revision = shared.ask(self.number, Request::Revision, store.revision(), |revision| {
                        Answer::Number(*revision)
                    });
                    self.revision = self.revision.max(revision.await.unwrap_or(0));
                }
                _ => self.lease(&store).await,
            }
        }
        shared.clients.set(shared.clients.get() - 1);
    }

    fn value(&mut self) -> Bytes {
        self.writes += 1;
        let len = self.random.below(self.shared.plan.value + 1) as usize;
        let mut value = format!("{}.{}:", self.number, self.writes).into_bytes();
        let from = value.len();
        // What a log may take for its own: nothing, everything, the beginning of a record.
        match self.random.below(4) {
            0 => value.resize(from + len, 0),
            1 => value.resize(from + len, 0xff),
            2 => value.extend(b"WLf1\0\0\0\0".iter().cycle().take(len)),
            _ => value.extend((0..len).map(|at| b'a' + (at % 26) as u8)),
        }
        value.into()
    }

    fn op(&mut self, used: &mut Vec<Bytes>) -> Option<Op> {
        let key = self.shared.key(&mut self.random);
        match self.random.below(10) {
            0 => {
                let (start, end) = self.shared.range(&mut self.random);
                return Some(Op::Range { start, end, options: self.options() });
            }
            1 if used.is_empty() => {
                // A range of removals excludes everything else in its transaction.
                used.extend(KEYS.map(|key| format!("{}{key}", self.shared.plan.prefix).into()));
                let (start, end) = self.shared.range(&mut self.random);
                return Some(Op::Delete { start, end });
            }
            _ => {}
        }
        if used.contains(&key) {
            return None;
        }
        used.push(key.clone());
        if self.random.below(4) == 0 {
            return Some(Op::Delete { start: key, end: None });
        }
        let leases = self.shared.leases.borrow();
        let lease = match self.random.below(4) {
            0 if !leases.is_empty() => leases[self.random.below(leases.len() as u64) as usize],
            _ => 0,
        };
        drop(leases);
        Some(Op::Put { key, value: self.value(), lease })
    }

    /// Mostly what was read last, so that both outcomes happen.
    fn compare(&mut self) -> Compare {
        let key = self.shared.key(&mut self.random);
        let seen = self.seen.iter().find(|kv| kv.key == key).cloned();
        let order = [Ordering::Equal, Ordering::Equal, Ordering::Less, Ordering::Greater]
            [self.random.below(4) as usize];
        let of = |read: fn(&KeyValue) -> i64| seen.as_ref().map_or(0, read);
        match self.random.below(6) {
            0 => Compare::Value(key, order, seen.as_ref().map_or_else(Bytes::new, |kv| kv.value.clone())),
            1 => Compare::Version(key, order, of(|kv| kv.version)),
            2 => Compare::CreateRevision(key, order, of(|kv| kv.create_revision)),
            3 => Compare::Lease(key, order, of(|kv| kv.lease)),
            _ => Compare::ModRevision(key, order, of(|kv| kv.mod_revision)),
        }
    }

    fn options(&mut self) -> RangeOptions {
        RangeOptions {
            revision: None,
            limit: if self.random.below(4) == 0 { 1 + self.random.below(4) as usize } else { 0 },
            count_only: self.random.below(8) == 0,
            keys_only: self.random.below(8) == 0,
        }
    }

    async fn txn(&mut self, store: &Arc<dyn Store>) {
        let mut txn = Txn::default();
        for _ in 0..self.random.below(3) {
            txn.compares.push(self.compare());
        }
        let mut used = Vec::new();
        txn.success = (0..1 + self.random.below(3)).filter_map(|_| self.op(&mut used)).collect();
        if self.random.below(2) == 0 {
            txn.failure = self.op(&mut Vec::new()).into_iter().collect();
        }
        let abandon = self.shared.plan.abandon;
        let gives_up = abandon > 0 && self.random.below(abandon) == 0;
        let patience = Duration::from_millis(self.random.below(20));
        let timeout = self.shared.world.pause(patience);
        let asked = store.txn(txn.clone());
        let answer = async move {
            if !gives_up {
                return asked.await;
            }
            match futures::future::select(asked, timeout).await {
                futures::future::Either::Left((answer, _)) => answer,
                futures::future::Either::Right(_) => Err(StoreError::Closed),
            }
        };
        let shared = self.shared.clone();
        let result = shared.ask(self.number, Request::Txn(txn), answer, |result| Answer::Txn(result.clone()));
        if let Some(result) = result.await {
            self.revision = self.revision.max(result.revision);
        }
    }

    async fn range(&mut self, store: &Arc<dyn Store>) {
        let (start, end) = self.shared.range(&mut self.random);
        let mut options = self.options();
        options.revision = match self.random.below(10) {
            0..4 => Some((self.revision - self.random.below(30) as Revision).max(1)),
            4 => Some(self.revision + self.random.below(5) as Revision),
            _ => None,
        };
        let request = Request::Range(start.clone(), end.clone(), options.clone());
        let shared = self.shared.clone();
        let range = shared.ask(self.number, request, store.range(start, end, options), |range| {
            Answer::Range(range.clone())
        });
        if let Some(range) = range.await {
            self.revision = self.revision.max(range.revision);
            self.seen = range.kvs;
        }
    }

    async fn compact(&mut self, store: &Arc<dyn Store>) {
        // Never past the watcher of everything, which the checker depends on.
        let observed = self.shared.observed.get();
        let revision = observed - self.random.below(20) as Revision;
        if revision > 1 {
            let shared = self.shared.clone();
            shared
                .ask(self.number, Request::Compact(revision), store.compact(revision), |()| Answer::Done)
                .await;
        }
    }

    async fn lease(&mut self, store: &Arc<dyn Store>) {
        let shared = self.shared.clone();
        let some = {
            let leases = shared.leases.borrow();
            let at = self.random.below(leases.len().max(1) as u64) as usize;
            leases.get(at).copied()
        };
        match (self.random.below(10), some) {
            (0..4, Some(id)) => {
                let asked = store.lease_keep_alive(id);
                shared.ask(self.number, Request::KeepAlive(id), asked, |ttl| Answer::Number(*ttl)).await;
            }
            (4..6, Some(id)) => {
                shared.ask(self.number, Request::Revoke(id), store.lease_revoke(id), |()| Answer::Done).await;
            }
            _ => {
                let (least, most) = shared.plan.ttl;
                let ttl = (least + self.random.below(most - least + 1)) as i64;
                // Never an id that was used: a lease has one life.
                let id = shared.next_lease.replace(shared.next_lease.get() + 1);
                let asked = store.lease_grant(id, ttl);
                let granted =
                    shared.ask(self.number, Request::Grant(id, ttl), asked, |_| Answer::Number(ttl)).await;
                if granted.is_some() {
                    let mut leases = shared.leases.borrow_mut();
                    leases.push(id);
                    if leases.len() > 4 {
                        leases.remove(0);
                    }
                }
            }
        }
    }
}

/// Opens a watch, recorded. `None` when the store is down or refuses.
async fn open(
    shared: &Shared,
    range: &(Bytes, Option<Bytes>),
    from: Option<Revision>,
    progress: bool,
) -> Result<(super::history::Ticket, WatchStream), StoreError> {
    let Some(store) = shared.world.store() else { return Err(StoreError::Closed) };
    let ticket = shared.recorder.watch(shared.world.now(), range.clone(), from);
    match store.watch(range.0.clone(), range.1.clone(), from, progress).await {
        Ok(stream) => {
            shared.recorder.opened(ticket, shared.world.now());
            Ok((ticket, stream))
        }
        Err(error) => {
            shared.recorder.ended(ticket, shared.world.now(), WatchEnd::Error(error.clone()));
            Err(error)
        }
    }
}

/// Watches everything from the beginning and never lags: what it sees tells the checker what happened where
/// nobody was told.
async fn observe(shared: Rc<Shared>) {
    let mut random = Random::new(shared.plan.seed ^ 1);
    let mut next = shared.observed.get() + 1;
    loop {
        let Ok((ticket, mut stream)) = open(&shared, &shared.all(), Some(next), true).await else {
            shared.pause(&mut random, Duration::from_millis(100)).await;
            continue;
        };
        loop {
            let item = stream.next().await;
            if !item_is_recorded(&shared, ticket, &item) {
                break;
            }
            if let Some(Ok(commit)) = item {
                next = commit.revision + 1;
                shared.observed.set(commit.revision);
                if shared.end.get().is_some_and(|end| commit.revision >= end) {
                    shared.watchers.set(shared.watchers.get() - 1);
                    return;
                }
            }
        }
    }
}

/// Records what a stream gave; `false` when it is over.
fn item_is_recorded(
    shared: &Shared,
    ticket: super::history::Ticket,
    item: &Option<Result<store::Commit, StoreError>>,
) -> bool {
    let now = shared.world.now();
    match item {
        Some(Ok(commit)) => {
            shared.recorder.item(ticket, now, commit.clone());
            return true;
        }
        Some(Err(error)) => shared.recorder.ended(ticket, now, WatchEnd::Error(error.clone())),
        None => shared.recorder.ended(ticket, now, WatchEnd::Silent),
    }
    false
}

/// Watches something, sometimes slowly, gives up and comes back, resumes where it was or before.
async fn watch(shared: Rc<Shared>, mut random: Random) {
    let range = shared.range(&mut random);
    let progress = random.below(2) == 0;
    let mut next = (random.below(2) == 0).then_some(2);
    let slow = random.below(3) == 0;
    loop {
        if next.is_none() && shared.until.get().is_some() {
            break;
        }
        let (ticket, mut stream) = match open(&shared, &range, next, progress).await {
            Ok(open) => open,
            Err(StoreError::Compacted { oldest }) => {
                next = Some(oldest.max(1));
                shared.pause(&mut random, Duration::from_millis(10)).await;
                continue;
            }
            Err(_) => {
                shared.pause(&mut random, Duration::from_millis(500)).await;
                continue;
            }
        };
        loop {
            let item = stream.next().await;
            if !item_is_recorded(&shared, ticket, &item) {
                if let Some(Err(StoreError::Compacted { oldest })) = item {
                    next = Some(oldest.max(1));
                }
                break;
            }
            let Some(Ok(commit)) = item else { continue };
            next = Some(commit.revision + 1);
            if shared.until.get().is_some_and(|until| commit.revision >= until) {
                shared.recorder.ended(ticket, shared.world.now(), WatchEnd::Dropped);
                shared.watchers.set(shared.watchers.get() - 1);
                return;
            }
            if slow {
                shared.pause(&mut random, shared.plan.think * 4).await;
            }
            if random.below(30) == 0 {
                shared.recorder.ended(ticket, shared.world.now(), WatchEnd::Dropped);
                let back = if random.below(2) == 0 { random.below(20) as Revision } else { 0 };
                next = Some((commit.revision + 1 - back).max(1));
                break;
            }
        }
    }
    shared.watchers.set(shared.watchers.get() - 1);
}

/// When all clients are done: a write that every watcher sees, so that they can stop.
async fn finale(shared: Rc<Shared>) {
    while shared.clients.get() > 0 {
        shared.world.pause(shared.plan.think).await;
    }
    while shared.watchers.get() > 0 {
        // Two rounds: until the others are gone, then for the one that watches everything.
        let mark = if shared.watchers.get() > 1 { &shared.until } else { &shared.end };
        if let (Some(revision), None) = (mark_all(&shared).await, mark.get()) {
            mark.set(Some(revision));
        }
        shared.world.pause(Duration::from_millis(200)).await;
    }
}

/// Writes all keys; the revision, if it was told.
async fn mark_all(shared: &Shared) -> Option<Revision> {
    let store = shared.world.store()?;
    let keys = KEYS.map(|key| Bytes::from(format!("{}{key}", shared.plan.prefix)));
    let puts = keys.map(|key| Op::Put { key, value: Bytes::from_static(b"the end"), lease: 0 });
    let txn = Txn { success: puts.to_vec(), ..Txn::default() };
    let request = Request::Txn(txn.clone());
    let told = shared.ask(usize::MAX, request, store.txn(txn), |result| Answer::Txn(result.clone())).await;
    told.map(|result| result.revision)
}
