//! [`Core`]: the writer's work without its thread: evaluates requests one after the other, makes a batch of them
//! durable with one sync, publishes it, answers. Deterministic, so that a test can drive it step by step.
//!
//! Order of a batch: evaluate against the working state, write and sync one frame, then publish (view, history,
//! watchers), then answer. Nobody sees anything before it is durable. When the frame cannot be written, the
//! working state is never published again and the store is read-only: after a failed sync nothing is known about
//! what the disk holds, so going on could lose what was acknowledged.

use super::checkpoint::Job;
use super::disk::Disk;
use super::node::{Changes, Node};
use super::options::Options;
use super::record::{Change, Record};
use super::request::{Answer, Reply, Request, validate};
use super::shared::Shared;
use super::state::{Lease, State};
use super::view::{Keys, Scan};
use super::wal::Wal;
use crate::kv::{LeaseId, Op, OpResult, Revision, StoreError, Txn, TxnResult};
use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Revisions of history that are freed between two batches.
const FORGET_SLICE: usize = 2048;

/// Into how many steps the age of history is divided.
const SAMPLES: u32 = 30;

/// Longest lease, as in etcd.
const MAX_TTL: i64 = 9_000_000_000;

/// The writer's state.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
    disk: Arc<dyn Disk>,
    wal: Wal,
    state: State,
    /// Like the published one, but ahead by the batch.
    compacted: Revision,
    changes: Vec<Arc<Changes>>,
    answers: Vec<Answer>,
    /// No lease ends before.
    next_expiry: Duration,
    /// (time, the latest revision then), oldest first.
    samples: VecDeque<(Duration, Revision)>,
    /// Everything up to here is in a checkpoint.
    base: Revision,
    /// A checkpoint at this revision is being written: history after it must stay.
    checkpointing: Option<Revision>,
    /// Leases came or went in this batch.
    leases_changed: bool,
    /// When writing a checkpoint failed: not before.
    retry_checkpoint: Duration,
    cancelled: Arc<AtomicBool>,
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: Options,
        disk: Arc<dyn Disk>,
        (state, wal, base): (State, Wal, Revision),
    ) -> Self {
        let compacted = shared.history.compacted();
        let samples = VecDeque::from([((options.clock)(), state.view.revision)]);
        let core = Self {
            shared,
            options,
            disk,
            wal,
            state,
            compacted,
            changes: Vec::new(),
            answers: Vec::new(),
            next_expiry: Duration::ZERO,
            samples,
            base,
            checkpointing: None,
            leases_changed: false,
            retry_checkpoint: Duration::ZERO,
            cancelled: Arc::default(),
        };
        core.count();
        core
    }

    /// Bytes that the next sync will write.
    pub(crate) fn pending(&self) -> usize {
        self.wal.pending()
    }

    /// Set to give up a checkpoint that is being written.
    pub(crate) fn cancelled(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    /// Takes a request into the batch.
    pub(crate) fn stage(&mut self, request: Request) {
        match request {
            Request::Txn(txn, reply) => match self.writable().and_then(|()| self.txn(&txn)) {
                Ok(result) => self.answers.push(Answer::Txn(reply, result)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Compact(revision, reply) => {
                let result = self.writable().and_then(|()| self.compact(revision));
                self.unit(result, reply);
            }
            Request::Grant(id, ttl, reply) => match self.writable().and_then(|()| self.grant(id, ttl)) {
                Ok(id) => self.answers.push(Answer::Number(reply, id)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Revoke(id, reply) => {
                let result = self.writable().and_then(|()| self.revoke(id));
                self.unit(result, reply);
            }
            Request::KeepAlive(id, reply) => drop(reply.send(self.keep_alive(id))),
            Request::Checkpointed(revision, result) => self.checkpointed(revision, result),
            Request::Wake | Request::Stop => {}
        }
    }

    fn unit(&mut self, result: Result<(), StoreError>, reply: Reply<()>) {
        match result {
            Ok(()) => self.answers.push(Answer::Unit(reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.shared.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnResult, StoreError> {
        let succeeded = txn.compares.iter().all(|compare| self.state.view.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        self.check(ops)?;
        let next = self.state.view.revision + 1;
        let mut nodes = Vec::new();
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put { key, value, lease } => {
                    self.state.view.revision = next;
                    let node = self.state.put(next, key, value.clone(), *lease);
                    let previous = node.previous().filter(|node| !node.is_removal());
                    nodes.push(node);
                    OpResult::Put(previous.map(|node| node.kv.clone()))
                }
                Op::Delete { start, end } => {
                    OpResult::Delete(self.remove(&Keys::new(start.clone(), end.clone()), next, &mut nodes))
                }
                Op::Range { start, end, options } => {
                    let keys = Keys::new(start.clone(), end.clone());
                    OpResult::Range(Scan::new(keys, options.clone(), &self.state.view).all(&self.state.view))
                }
            });
        }
        self.commit(nodes);
        Ok(TxnResult { succeeded, revision: self.state.view.revision, results })
    }

    /// Everything that can be wrong with a transaction: after this it cannot fail half-way.
    fn check(&self, ops: &[Op]) -> Result<(), StoreError> {
        validate(ops, self.options.max_txn_bytes)?;
        let mut wanted = 0;
        for op in ops {
            match op {
                Op::Put { lease, .. } if *lease != 0 && !self.state.leases.contains_key(lease) => {
                    return Err(StoreError::LeaseNotFound);
                }
                Op::Put { key, value, .. } => wanted += (key.len() + value.len()) as u64,
                Op::Range { options, .. } => {
                    self.shared.check(options.revision, &self.state.view)?;
                    // The batch may hold a compaction that is not published yet.
                    if options.revision.is_some_and(|revision| revision > 0 && revision < self.compacted) {
                        return Err(StoreError::Compacted { oldest: self.compacted });
                    }
                }
                Op::Delete { .. } => {}
            }
        }
        let (used, quota) = (self.state.bytes - self.state.old_bytes, self.options.quota);
        if quota > 0 && wanted > 0 && used + wanted > quota {
            return Err(StoreError::NoSpace { used, quota });
        }
        Ok(())
    }

    fn remove(
        &mut self,
        keys: &Keys,
        next: Revision,
        nodes: &mut Vec<Arc<Node>>,
    ) -> Vec<crate::kv::KeyValue> {
        let mut removed = Vec::new();
        for key in self.state.existing(keys) {
            if let Some(node) = self.state.remove(next, &key) {
                self.state.view.revision = next;
                removed.extend(node.previous().map(|previous| previous.kv.clone()));
                nodes.push(node);
            }
        }
        removed
    }

    /// Adds the changes of the next revision, if any, to the batch.
    fn commit(&mut self, nodes: Vec<Arc<Node>>) {
        if nodes.is_empty() {
            return;
        }
        let revision = self.state.view.revision;
        let changes = nodes.iter().map(|node| match node.is_removal() {
            true => Change::Delete { key: &node.kv.key },
            false => Change::Put { key: &node.kv.key, value: &node.kv.value, lease: node.kv.lease },
        });
        Record::Commit { revision, changes: changes.collect() }.encode(self.wal.payload());
        self.changes.push(Arc::new(Changes { revision, nodes: nodes.into() }));
    }

    fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision <= self.compacted {
            return Err(StoreError::Compacted { oldest: self.compacted });
        }
        if revision > self.state.view.revision {
            return Err(StoreError::Future { current: self.state.view.revision });
        }
        Record::Compact { revision }.encode(self.wal.payload());
        self.compacted = revision;
        Ok(())
    }

    fn grant(&mut self, id: LeaseId, ttl: i64) -> Result<LeaseId, StoreError> {
        if ttl > MAX_TTL {
            return Err(StoreError::Invalid("too large lease TTL".to_owned()));
        }
        if self.state.leases.contains_key(&id) {
            return Err(StoreError::LeaseExists);
        }
        let mut id = id;
        while id == 0 || self.state.leases.contains_key(&id) {
            id = (RandomState::new().build_hasher().finish() >> 1) as LeaseId;
        }
        let ttl = ttl.max(1);
        Record::Grant { id, ttl }.encode(self.wal.payload());
        let deadline = self.deadline(ttl);
        self.next_expiry = self.next_expiry.min(deadline);
        self.leases_changed = true;
        self.state.leases.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
        Ok(id)
    }

    fn deadline(&self, ttl: i64) -> Duration {
        (self.options.clock)() + Duration::from_secs(ttl.unsigned_abs())
    }

    fn keep_alive(&mut self, id: LeaseId) -> Result<i64, StoreError> {
        let ttl = self.state.leases.get(&id).ok_or(StoreError::LeaseNotFound)?.ttl;
        let deadline = self.deadline(ttl);
        if let Some(lease) = self.state.leases.get_mut(&id) {
            lease.deadline = deadline;
        }
        Ok(ttl)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
        let lease = self.state.leases.remove(&id).ok_or(StoreError::LeaseNotFound)?;
        self.leases_changed = true;
        let next = self.state.view.revision + 1;
        let nodes: Vec<_> = lease.keys.iter().filter_map(|key| self.state.remove(next, key)).collect();
        if !nodes.is_empty() {
            self.state.view.revision = next;
        }
        self.commit(nodes);
        Record::Revoke { id }.encode(self.wal.payload());
        Ok(())
    }

    /// What time brings: ends leases and forgets history, as part of the batch. Returns how long until it has to
    /// be called again.
    pub(crate) fn stage_due(&mut self) -> Option<Duration> {
        if self.writable().is_err() {
            return None;
        }
        let now = (self.options.clock)();
        if self.next_expiry <= now {
            self.expire(now);
        }
        if let Some(revision) = self.forgettable(now).filter(|revision| *revision > self.compacted) {
            // Cannot fail: it is between the oldest and the latest revision.
            let _ = self.compact(revision);
        }
        let lease = (!self.state.leases.is_empty()).then_some(self.next_expiry);
        let oldest = self.samples.front().filter(|_| self.samples.len() > 1);
        let newest = self.samples.back().filter(|(_, revision)| *revision < self.state.view.revision);
        let forget = oldest.map(|(at, _)| *at + self.options.history);
        let sample = newest.map(|(at, _)| *at + self.options.history / SAMPLES);
        [lease, forget, sample].into_iter().flatten().min().map(|at| at.saturating_sub(now))
    }

    fn expire(&mut self, now: Duration) {
        let leases = self.state.leases.iter();
        let mut due: Vec<_> = leases.filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect();
        due.sort_unstable();
        for id in due {
            // Cannot fail: it exists.
            let _ = self.revoke(id);
        }
        let rest = self.state.leases.values().map(|lease| lease.deadline);
        self.next_expiry = rest.min().unwrap_or(Duration::MAX);
    }

    /// The revision that history should start at by now.
    fn forgettable(&mut self, now: Duration) -> Option<Revision> {
        let revision = self.state.view.revision;
        let step = self.options.history / SAMPLES;
        if self.samples.back().is_none_or(|(at, last)| *last < revision && *at + step <= now) {
            self.samples.push_back((now, revision));
        }
        let mut by_age = None;
        while self.samples.len() > 1
            && self.samples.front().is_some_and(|(at, _)| *at + self.options.history <= now)
        {
            by_age = self.samples.pop_front().map(|(_, revision)| revision);
        }
        let held = self.shared.history.len();
        let first = self.shared.view.load().revision + 1 - held as Revision;
        // What is already given up but not freed yet does not count again.
        let caught_up = first >= self.compacted;
        let is_over =
            held > self.options.history_revisions || self.state.old_bytes > self.options.history_bytes;
        let by_size = (is_over && caught_up && held > 0).then(|| first + (held as Revision / 8).max(1));
        by_age.max(by_size).map(|to| to.min(revision))
    }

    /// Makes the batch durable, publishes it and answers.
    pub(crate) fn finish(&mut self) {
        if let Some(failure) = self.shared.failed.get() {
            self.answers.drain(..).for_each(|answer| answer.send(Some(failure)));
            return;
        }
        if self.wal.pending() == 0 {
            self.answers.drain(..).for_each(|answer| answer.send(None));
            return;
        }
        let clock = std::time::Instant::now();
        let written = self.wal.append(self.state.view.revision);
        self.measure(clock.elapsed());
        if let Err(error) = written {
            let failure = StoreError::Io(format!(
                "failed to write the log of the store: {error}; the store is read-only until the disk is \
                 repaired and the process restarted"
            ));
            tracing::error!(%error, "failed to write the log of the store; it is read-only now");
            let failure = self.shared.failed.get_or_init(|| failure);
            self.changes.clear();
            self.answers.drain(..).for_each(|answer| answer.send(Some(failure)));
            return;
        }
        if std::mem::take(&mut self.leases_changed) {
            self.state.publish_leases();
        }
        let has_changes = !self.changes.is_empty();
        // The view first: who has seen an event must be able to read what it says.
        self.shared.view.store(Arc::new(self.state.view.clone()));
        self.shared.history.extend(self.changes.drain(..));
        self.shared.history.compact(self.compacted);
        if has_changes {
            self.shared.hub.notify();
        }
        self.count();
        self.answers.drain(..).for_each(|answer| answer.send(None));
    }

    fn measure(&self, took: Duration) {
        let counters = &self.shared.counters;
        counters.syncs.fetch_add(1, Relaxed);
        counters.sync_nanoseconds.fetch_add(took.as_nanos() as u64, Relaxed);
        if took >= self.options.slow_sync {
            counters.slow_syncs.fetch_add(1, Relaxed);
            tracing::warn!(
                took_ms = took.as_millis() as u64,
                "slow sync of the store; is the disk overloaded?"
            );
        }
    }

    fn count(&self) {
        let counters = &self.shared.counters;
        counters.keys.store(self.state.keys, Relaxed);
        counters.bytes.store(self.state.bytes, Relaxed);
        counters.old_bytes.store(self.state.old_bytes, Relaxed);
        counters.log_bytes.store(self.wal.size(), Relaxed);
        counters.leases.store(self.state.leases.len() as u64, Relaxed);
    }

    /// Frees some of the history that was given up; `true` while there is more.
    pub(crate) fn forget(&mut self) -> bool {
        if self.writable().is_err() {
            return false;
        }
        // The changes of the oldest readable revision stay, for watchers that start there.
        let last = self.checkpointing.unwrap_or(self.compacted - 1);
        let gone = self.shared.history.pop(last, FORGET_SLICE);
        gone.iter().for_each(|changes| self.state.forget(changes));
        if gone.is_empty() {
            return false;
        }
        self.shared.view.store(Arc::new(self.state.view.clone()));
        self.count();
        gone.len() == FORGET_SLICE
    }

    /// A checkpoint to write now, if one is worth it. Hand its result to [`Core::checkpointed`].
    pub(crate) fn due_checkpoint(&mut self) -> Option<Job> {
        let revision = self.compacted - 1;
        if self.checkpointing.is_some() || revision <= self.base || self.writable().is_err() {
            return None;
        }
        let worth = self.options.checkpoint_bytes.max(self.state.bytes / 2);
        if self.wal.removable(revision) < worth || (self.options.clock)() < self.retry_checkpoint {
            return None;
        }
        self.checkpointing = Some(revision);
        let (disk, cancelled) = (self.disk.clone(), self.cancelled.clone());
        Some(Job { disk, view: self.state.view.clone(), revision, cancelled })
    }

    fn checkpointed(&mut self, revision: Revision, result: io::Result<()>) {
        self.checkpointing = None;
        let cleaned = result.and_then(|()| {
            let old = std::mem::replace(&mut self.base, revision);
            self.shared.counters.checkpoints.fetch_add(1, Relaxed);
            let old = super::checkpoint::checkpoint_name(old);
            if self.disk.list()?.contains(&old) {
                self.disk.remove(&old)?;
            }
            self.wal.remove_until(revision)
        });
        if let Err(error) = cleaned {
            // Not fatal: the log still has everything.
            tracing::warn!(%error, "failed to write a checkpoint of the store; trying again in a minute");
            self.retry_checkpoint = (self.options.clock)() + Duration::from_secs(60);
        }
    }
}
