//! [`Core`]: the writer's work without its thread: evaluates requests one after the other, makes a batch of them
//! durable with one sync, publishes it, answers. Deterministic, so that a test can drive it step by step.
//!
//! Order of a batch: evaluate against the working state, write and sync one frame, then publish (view, history,
//! watchers), then answer. Nobody sees anything before it is durable. When the frame cannot be written, the
//! working state is never published again and the store is read-only: after a failed sync nothing is known about
//! what the disk holds, so going on could lose what was acknowledged. Only a full disk is different (`stall`).

use super::alarm;
use super::disk::Disk;
use super::node::{Changes, Node};
use super::options::Options;
use super::record::{Change, Record};
use super::request::{Answer, Reply, Request, any, refused, validate};
use super::shared::Shared;
use super::stall::Sizes;
use super::state::{Lease, State};
use super::upkeep::Upkeep;
use super::view::{Keys, Scan};
use super::wal::Wal;
use crate::kv::{LeaseId, Op, OpResult, Revision, StoreError, Txn, TxnResult};
use crate::maintenance::{Alarm, LeaseState};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Longest lease, as in etcd.
const MAX_TTL: i64 = 9_000_000_000;

const CORRUPT_ALARM: &str = "the CORRUPT alarm of the store is set, so nothing is written; run 'windlass store check', \
     then take the alarm back with 'windlass store alarm disarm'";

/// The writer's state.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
    pub(super) wal: Wal,
    pub(super) state: State,
    /// Like the published one, but ahead by the batch.
    pub(super) compacted: Revision,
    pub(super) changes: Vec<Arc<Changes>>,
    pub(super) answers: Vec<Answer>,
    /// No lease ends before.
    pub(super) next_expiry: Duration,
    /// Leases came or went in this batch.
    pub(super) leases_changed: bool,
    pub(super) upkeep: Upkeep,
    /// The disk is full: when the log is tried again.
    pub(super) retry: Option<Duration>,
    /// Sizes of the state that is published.
    pub(super) published: Sizes,
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: Options,
        disk: Arc<dyn Disk>,
        (state, wal, base): (State, Wal, Revision),
    ) -> Self {
        let compacted = shared.history.compacted();
        let upkeep = Upkeep::new(disk, base, (options.clock)(), state.view.revision);
        let mut core = Self {
            shared,
            options,
            wal,
            state,
            compacted,
            changes: Vec::new(),
            answers: Vec::new(),
            next_expiry: Duration::ZERO,
            leases_changed: false,
            upkeep,
            retry: None,
            published: Sizes::default(),
        };
        core.remember_sizes();
        core.count();
        core
    }

    /// Bytes that the next sync will write.
    pub(crate) fn pending(&self) -> usize {
        self.wal.pending()
    }

    /// Set to give up a checkpoint that is being written.
    pub(crate) fn cancelled(&self) -> Arc<AtomicBool> {
        self.upkeep.cancelled.clone()
    }

    /// Takes a request into the batch.
    pub(crate) fn stage(&mut self, request: Request) {
        self.recover();
        match request {
            Request::Txn(txn, reply) => match self.writable().and_then(|()| self.txn(&txn)) {
                Ok(result) => self.answers.push(Answer::Txn(reply, result)),
                Err(error) => self.refuse(reply, error),
            },
            Request::Compact(revision, reply) => {
                let result = self.writable().and_then(|()| self.compact(revision));
                self.unit(result, reply);
            }
            Request::Grant(id, ttl, reply) => match self.writable().and_then(|()| self.grant(id, ttl)) {
                Ok(id) => self.answers.push(Answer::Number(reply, id)),
                Err(error) => self.refuse(reply, error),
            },
            Request::Revoke(id, reply) => {
                let result = self.writable().and_then(|()| self.revoke(id));
                self.unit(result, reply);
            }
            Request::KeepAlive(id, reply) => match self.keep_alive(id) {
                Ok(ttl) => self.answers.push(Answer::Number(reply, ttl)),
                Err(error) => self.refuse(reply, error),
            },
            Request::Leases(reply) => {
                let ids = self.state.leases.keys().copied().collect();
                self.answers.push(any(reply, ids));
            }
            Request::Lease(id, reply) => match self.lease(id) {
                Ok(lease) => self.answers.push(any(reply, lease)),
                Err(error) => self.refuse(reply, error),
            },
            Request::Alarm(alarm, is_set, reply) => match self.still_open() {
                Ok(()) => {
                    let was_set = self.state.view.alarms.has(alarm);
                    self.alarm(alarm, is_set);
                    self.answers.push(any(reply, was_set));
                }
                Err(error) => self.refuse(reply, error),
            },
            Request::Settle(reply) => self.upkeep.settling.push(reply),
            Request::Defragment(reply) => self.upkeep.defragments.push(reply),
            Request::Hold(reply) => self.upkeep.holding.push(reply),
            Request::Release => self.upkeep.holds = self.upkeep.holds.saturating_sub(1),
            Request::Checkpointed(revision, result) => self.checkpointed(revision, result),
            Request::Wake | Request::Stop => {}
        }
    }

    /// Answers with `error`, with the batch: what it says may rest on a write that is not durable yet.
    fn refuse<T: Send + 'static>(&mut self, reply: Reply<T>, error: StoreError) {
        self.answers.push(refused(reply, error));
    }

    fn unit(&mut self, result: Result<(), StoreError>, reply: Reply<()>) {
        match result {
            Ok(()) => self.answers.push(Answer::Unit(reply)),
            Err(error) => self.refuse(reply, error),
        }
    }

    /// Whether the log can still be written.
    pub(super) fn still_open(&self) -> Result<(), StoreError> {
        self.shared.failure().map_or(Ok(()), Err)
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.still_open()?;
        match self.state.view.alarms.has(Alarm::Corrupt) {
            true => Err(StoreError::Io(CORRUPT_ALARM.to_owned())),
            false => Ok(()),
        }
    }

    fn alarm(&mut self, alarm: Alarm, is_set: bool) {
        if self.state.view.alarms.has(alarm) != is_set {
            Record::Alarm { kind: alarm::number(alarm), is_set }.encode(self.wal.payload());
            self.state.view.alarms.set(alarm, is_set);
            tracing::warn!(?alarm, is_set, "an alarm of the store was set or taken back");
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnResult, StoreError> {
        self.shared.counters.txns.fetch_add(1, Relaxed);
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
    fn check(&mut self, ops: &[Op]) -> Result<(), StoreError> {
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
        if wanted > 0 { self.room_for(wanted) } else { Ok(()) }
    }

    /// Refuses more data when the quota is exceeded, and from then on until the alarm is taken back, as etcd does.
    fn room_for(&mut self, wanted: u64) -> Result<(), StoreError> {
        let (used, quota) = (self.state.bytes - self.state.old_bytes, self.options.quota);
        if quota > 0 && used + wanted > quota {
            self.alarm(Alarm::NoSpace, true);
        }
        match self.state.view.alarms.has(Alarm::NoSpace) {
            true => Err(StoreError::NoSpace { used, quota }),
            false => Ok(()),
        }
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
        let deletes = nodes.iter().filter(|node| node.is_removal()).count() as u64;
        let counters = &self.shared.counters;
        counters.deletes.fetch_add(deletes, Relaxed);
        counters.puts.fetch_add(nodes.len() as u64 - deletes, Relaxed);
        self.changes.push(Arc::new(Changes { revision, nodes: nodes.into() }));
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
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
        self.room_for(0)?;
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

    fn lease(&self, id: LeaseId) -> Result<LeaseState, StoreError> {
        let lease = self.state.leases.get(&id).ok_or(StoreError::LeaseNotFound)?;
        let remaining = lease.deadline.saturating_sub((self.options.clock)());
        Ok(LeaseState {
            granted: lease.ttl,
            remaining: i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX),
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    pub(super) fn revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
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

    /// Makes the batch durable, publishes it and answers.
    pub(crate) fn finish(&mut self) {
        // While the disk is full the state is what is durable: what does not change it is answered, the rest was refused.
        if self.retry.is_none()
            && let Some(failure) = self.shared.failure()
        {
            self.answers.drain(..).for_each(|answer| answer.send(Some(&failure)));
            return;
        }
        if self.wal.pending() == 0 {
            self.answers.drain(..).for_each(|answer| answer.send(None));
            return;
        }
        let bytes = self.wal.pending() as u64;
        match self.wal.append(self.state.view.revision) {
            Ok(took) => self.measure(took, bytes),
            Err(failure) => return self.fail(&failure),
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
        self.remember_sizes();
        self.count();
        self.answers.drain(..).for_each(|answer| answer.send(None));
    }

    fn measure(&self, took: Duration, bytes: u64) {
        let counters = &self.shared.counters;
        counters.synced(took);
        counters.written_bytes.fetch_add(bytes, Relaxed);
        if took >= self.options.slow_sync {
            counters.slow_syncs.fetch_add(1, Relaxed);
            tracing::warn!(
                took_ms = took.as_millis() as u64,
                expected_ms = self.options.slow_sync.as_millis() as u64,
                "slow fdatasync of the store's log; is the disk overloaded?"
            );
        }
    }

    pub(super) fn count(&self) {
        let counters = &self.shared.counters;
        counters.keys.store(self.state.keys, Relaxed);
        counters.bytes.store(self.state.bytes, Relaxed);
        counters.old_bytes.store(self.state.old_bytes, Relaxed);
        counters.log_bytes.store(self.wal.size(), Relaxed);
        counters.leases.store(self.state.leases.len() as u64, Relaxed);
    }
}
