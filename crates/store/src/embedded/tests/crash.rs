//! Random work, random accidents: whatever was acknowledged is there afterwards, the rest is there as a whole or
//! not at all. Each seed replays exactly: `WINDLASS_STORE_SEEDS=17..18 cargo test -p store crash`.

use super::model::Model;
use super::*;
use crate::embedded::core::Core;
use crate::embedded::disk::Disk;
use crate::embedded::disk::memory::{Fault, Random};
use crate::embedded::open_core;
use crate::embedded::request::Request;
use crate::embedded::view::{Keys, Scan};
use crate::kv::{Compare, LeaseId};
use std::collections::BTreeMap;
use std::ops::Range;
use tokio::sync::oneshot::{Receiver, channel, error::TryRecvError};

/// What a request was, with the answer to come.
enum Asked {
    Txn(Txn, Receiver<Result<TxnResult, StoreError>>),
    Grant(LeaseId, i64, Receiver<Result<LeaseId, StoreError>>),
    KeepAlive(LeaseId, Receiver<Result<i64, StoreError>>),
    Revoke(LeaseId, Receiver<Result<(), StoreError>>),
    Compact(Receiver<Result<(), StoreError>>),
}

struct Run {
    seed: u64,
    random: Random,
    disk: MemDisk,
    now: Arc<Mutex<Duration>>,
    options: Options,
    /// Everything acknowledged.
    model: Model,
    writes: u64,
}

fn answer<T>(receiver: &mut Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    match receiver.try_recv() {
        Ok(result) => result,
        Err(TryRecvError::Empty) => panic!("no answer"),
        Err(TryRecvError::Closed) => Err(StoreError::Closed),
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let now = Arc::new(Mutex::new(Duration::ZERO));
        let clock = now.clone();
        let options = Options {
            history: Duration::from_secs(30),
            history_revisions: 40,
            segment_bytes: 1500,
            checkpoint_bytes: 2000,
            clock: Arc::new(move || *clock.lock()),
            ..Options::default()
        };
        let disk = MemDisk::new(seed ^ 0xd15c);
        Self { seed, random: Random::new(seed), disk, now, options, model: Model::new(), writes: 0 }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.random.below(8)))
    }

    fn op(&mut self, used: &mut Vec<Bytes>) -> Option<Op> {
        let key = self.key();
        if used.contains(&key) {
            return None;
        }
        used.push(key.clone());
        if self.random.below(4) == 0 {
            return Some(Op::Delete { start: key, end: None });
        }
        self.writes += 1;
        let pad = self.random.below(200) as usize;
        let value = format!("{}:{}", self.writes, "v".repeat(pad)).into();
        let lease = if self.random.below(4) == 0 { 1 + self.random.below(4) as LeaseId } else { 0 };
        Some(Op::Put { key, value, lease })
    }

    fn txn(&mut self) -> Txn {
        let mut txn = Txn::default();
        if self.random.below(2) == 0 {
            let key = self.key();
            let revision = self.model.at(self.model.revision()).get(&key).map_or(0, |kv| kv.mod_revision);
            txn.compares.push(Compare::ModRevision(key, std::cmp::Ordering::Equal, revision));
        }
        let count = 1 + self.random.below(3);
        let mut used = Vec::new();
        txn.success = (0..count).filter_map(|_| self.op(&mut used)).collect();
        if self.random.below(10) == 0 {
            txn.success = vec![Op::Delete { start: bytes("k2"), end: Some(bytes("k6")) }];
        }
        if self.random.below(2) == 0 {
            txn.failure = self.op(&mut Vec::new()).into_iter().collect();
        }
        txn
    }

    fn ask(&mut self, core: &mut Core) -> Asked {
        match self.random.below(20) {
            0 => {
                let (reply, receiver) = channel();
                let revision = 1 + self.random.below(self.model.revision() as u64) as Revision;
                core.stage(Request::Compact(revision, reply));
                Asked::Compact(receiver)
            }
            1 | 2 => {
                let (id, ttl) = (1 + self.random.below(4) as LeaseId, 1 + self.random.below(60) as i64);
                let (reply, receiver) = channel();
                core.stage(Request::Grant(id, ttl, reply));
                Asked::Grant(id, ttl, receiver)
            }
            3 => {
                let id = 1 + self.random.below(4) as LeaseId;
                let (reply, receiver) = channel();
                core.stage(Request::Revoke(id, reply));
                Asked::Revoke(id, receiver)
            }
            4 => {
                let id = 1 + self.random.below(4) as LeaseId;
                let (reply, receiver) = channel();
                core.stage(Request::KeepAlive(id, reply));
                Asked::KeepAlive(id, receiver)
            }
            _ => {
                let txn = self.txn();
                let (reply, receiver) = channel();
                core.stage(Request::Txn(txn.clone(), reply));
                Asked::Txn(txn, receiver)
            }
        }
    }

    /// Applies what was asked to a copy of the model, in order, and compares the answers. `None` when the batch
    /// was not acknowledged.
    fn expect(&self, mut expected: Model, asked: &mut [Asked], failed: bool) -> Model {
        let now = *self.now.lock();
        let seed = self.seed;
        let deadline = |ttl: i64| now + Duration::from_secs(ttl as u64);
        for asked in asked {
            match asked {
                Asked::Txn(txn, receiver) => {
                    let held = expected.txn(txn);
                    let result = answer(receiver);
                    if failed {
                        continue;
                    }
                    match held {
                        None => assert!(matches!(result, Err(StoreError::LeaseNotFound)), "seed {seed}"),
                        Some(held) => {
                            let result = result.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                            assert_eq!(
                                (held, expected.revision()),
                                (result.succeeded, result.revision),
                                "{seed}"
                            );
                        }
                    }
                }
                Asked::Grant(id, ttl, receiver) => {
                    let is_new = !expected.leases.contains_key(id);
                    if is_new {
                        expected.leases.insert(*id, (*ttl, deadline(*ttl)));
                    }
                    let result = answer(receiver);
                    assert!(failed || result.is_ok() == is_new, "seed {seed}: {result:?}");
                }
                Asked::Revoke(id, receiver) => {
                    let existed = expected.revoke(*id);
                    let result = answer(receiver);
                    assert!(failed || result.is_ok() == existed, "seed {seed}: {result:?}");
                }
                Asked::KeepAlive(id, receiver) => {
                    if let Some((ttl, until)) = expected.leases.get_mut(id) {
                        *until = deadline(*ttl);
                    }
                    let _ = answer(receiver);
                }
                Asked::Compact(receiver) => drop(answer(receiver)),
            }
        }
        expected
    }

    /// Works until something goes wrong or `batches` are done. Returns the model as it is if the last batch,
    /// which was not acknowledged, is there nevertheless.
    fn work(&mut self, core: &mut Core, batches: u64) -> Model {
        for _ in 0..batches {
            *self.now.lock() += Duration::from_secs(self.random.below(3));
            let mut expected = self.model.clone();
            expected.expire(*self.now.lock());
            core.stage_due();
            let mut asked: Vec<_> = (0..self.random.below(6)).map(|_| self.ask(core)).collect();
            core.finish();
            let failed = core.shared.failure().is_some();
            let expected = self.expect(expected, &mut asked, failed);
            if failed {
                return expected;
            }
            self.model = expected;
            while core.forget() {}
            if let Some(job) = core.due_checkpoint() {
                let result = job.run();
                core.stage(Request::Checkpointed(job.revision, result));
            }
            self.verify_latest(core);
        }
        self.model.clone()
    }

    fn verify_latest(&self, core: &Core) {
        let view = core.shared.view.load_full();
        assert_eq!(view.revision, self.model.revision(), "seed {}", self.seed);
        let all = Keys::new(Bytes::new(), to_the_end());
        let range = Scan::new(all, RangeOptions::default(), &view).all(&view);
        let expected: Vec<_> = self.model.at(view.revision).values().cloned().collect();
        assert_eq!(range.kvs, expected, "seed {}", self.seed);
    }

    /// Everything readable is as the model says: all states, all changes.
    fn verify(&self, core: &Core) {
        let seed = self.seed;
        self.verify_latest(core);
        let view = core.shared.view.load_full();
        for revision in core.shared.history.compacted()..=view.revision {
            let options = RangeOptions { revision: Some(revision), ..RangeOptions::default() };
            let range = Scan::new(Keys::new(Bytes::new(), to_the_end()), options, &view).all(&view);
            let expected: Vec<_> = self.model.at(revision).values().cloned().collect();
            assert_eq!(range.kvs, expected, "seed {seed}, revision {revision}");
        }
        let from = core.shared.history.oldest_watchable();
        let history = core.shared.history.read(from, usize::MAX).expect("is there");
        assert_eq!(history.len() as Revision, view.revision + 1 - from, "seed {seed}");
        for changes in history {
            let events = changes
                .nodes
                .iter()
                .map(|node| (node.kv.key.clone(), (!node.is_removal()).then(|| node.kv.clone())));
            let events: BTreeMap<_, _> = events.collect();
            assert_eq!(events, self.model.changed(changes.revision), "seed {seed}");
            for event in changes.nodes.iter().map(|node| node.event()) {
                let before = self.model.at(changes.revision - 1).get(&event.kv.key);
                assert_eq!(event.previous.as_ref(), before, "seed {seed}, revision {}", changes.revision);
            }
        }
    }

    /// Opens after an accident and decides which of the two possible states it is.
    fn reopen(&mut self, other: Model) -> Core {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let core =
            open_core(disk, self.options.clone()).unwrap_or_else(|e| panic!("seed {}: {e}", self.seed));
        let found: Vec<_> = core.shared.view.load().leases.iter().map(|(id, _)| *id).collect();
        let has = |model: &Model| {
            let mut found = found.clone();
            found.sort_unstable();
            model.revision() == core.shared.view.load().revision && model.leases.keys().copied().eq(found)
        };
        if !has(&self.model) {
            assert!(has(&other), "seed {}: neither with the last batch nor without it", self.seed);
            self.model = other;
        }
        // Leases start anew.
        let now = *self.now.lock();
        for (ttl, deadline) in self.model.leases.values_mut() {
            *deadline = now + Duration::from_secs(*ttl as u64);
        }
        self.verify(&core);
        core
    }
}

fn seeds(count: u64) -> Range<u64> {
    let given = std::env::var("WINDLASS_STORE_SEEDS").ok().and_then(|range| {
        let (from, to) = range.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    given.unwrap_or(0..count)
}

fn crash(seed: u64) {
    let mut run = Run::new(seed);
    let mut other = run.model.clone();
    for _ in 0..4 {
        // Opening may be hit by the accident as well.
        let at = 1 + run.random.below(250);
        run.disk.set_fault(Fault::Power(at));
        let disk: Arc<dyn Disk> = Arc::new(run.disk.clone());
        if let Ok(core) = open_core(disk, run.options.clone()) {
            drop(core);
            let mut core = {
                let disk: Arc<dyn Disk> = Arc::new(run.disk.clone());
                match open_core(disk, run.options.clone()) {
                    Ok(core) => core,
                    Err(_) => {
                        run.disk.crash();
                        continue;
                    }
                }
            };
            let batches = 20 + run.random.below(60);
            other = run.work(&mut core, batches);
        }
        run.disk.crash();
        drop(run.reopen(other.clone()));
        other = run.model.clone();
    }
}

#[test]
fn power_loss_at_any_moment() {
    for seed in seeds(400) {
        crash(seed);
    }
}

#[test]
fn a_failing_disk_stops_writes_and_loses_nothing() {
    for seed in seeds(200) {
        let mut run = Run::new(seed);
        let model = run.model.clone();
        let mut core = run.reopen(model);
        let at = run.disk.operations() + 1 + run.random.below(200);
        run.disk.set_fault(if seed % 2 == 0 { Fault::Io(at) } else { Fault::NoSpace(at) });
        let other = run.work(&mut core, 60);
        // Reads go on, and show nothing that was not acknowledged.
        run.verify_latest(&core);
        if core.shared.failure().is_some() {
            let (reply, mut receiver) = channel();
            let txn = Txn { success: vec![put("late", "1")], ..Txn::default() };
            core.stage(Request::Txn(txn, reply));
            core.finish();
            assert!(matches!(answer(&mut receiver), Err(StoreError::Io(_))), "seed {seed}");
        }
        drop(core);
        if seed % 3 == 0 {
            run.disk.crash();
        }
        run.disk.set_fault(Fault::None);
        drop(run.reopen(other));
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let mut refused = 0;
    for seed in seeds(200) {
        let mut run = Run::new(seed);
        let model = run.model.clone();
        let mut core = run.reopen(model);
        let batches = 5 + run.random.below(60);
        run.work(&mut core, batches);
        drop(core);
        let names = run.disk.list().expect("lists");
        let name = names[run.random.below(names.len() as u64) as usize].clone();
        let len = run.disk.open(&name).expect("opens").size().expect("has a size");
        run.disk.flip(&name, run.random.below(len * 8));
        match open_core(Arc::new(run.disk.clone()), run.options.clone()) {
            Err(StoreError::Corrupt { file, .. }) => {
                assert!(file.ends_with(&name), "seed {seed}: {file} instead of {name}");
                refused += 1;
            }
            Err(error) => panic!("seed {seed}: {error}"),
            Ok(core) => run.verify(&core),
        }
    }
    assert!(refused > 0);
}

#[test]
fn the_disk_does_not_grow_under_a_steady_load() {
    let mut run = Run::new(3);
    let model = run.model.clone();
    let mut core = run.reopen(model);
    let mut largest = 0;
    for _ in 0..40 {
        run.work(&mut core, 50);
        largest = largest.max(run.disk.size());
        // The model itself must not grow either.
        let revision = run.model.revision();
        assert!(core.shared.history.len() < 100, "history at revision {revision}");
    }
    assert!(core.shared.stats().checkpoints > 20, "{:?}", core.shared.stats());
    assert!(largest < 40_000, "{largest} bytes");
}
