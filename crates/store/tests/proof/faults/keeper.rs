//! Whoever keeps the store well while all else goes on: defragments, verifies, saves snapshots and restores them, raises
//! alarms and takes them back, and makes room when the quota is used up.

use super::sim::SimWorld;
use crate::model::workload::World;
use crate::model::{Answer, Random, Recorder, Request, to_the_end};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::embedded::disk::memory::MemDisk;
use store::embedded::{Embedded, Options, Stepped, restore_on};
use store::maintenance::{Alarm, Maintenance};
use store::{LeaseId, Op, RangeOptions, Store, StoreError, Txn};

/// In the records.
const KEEPER: usize = usize::MAX - 1;

/// What was done, and came to an end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chores {
    pub(crate) defragments: u64,
    pub(crate) verifications: u64,
    pub(crate) snapshots: u64,
    pub(crate) alarms: u64,
    /// The quota was used up, and room was made.
    pub(crate) quotas: u64,
}

impl std::ops::AddAssign for Chores {
    fn add_assign(&mut self, other: Self) {
        self.defragments += other.defragments;
        self.verifications += other.verifications;
        self.snapshots += other.snapshots;
        self.alarms += other.alarms;
        self.quotas += other.quotas;
    }
}

pub(super) struct Keeper {
    pub(super) world: Rc<SimWorld>,
    pub(super) recorder: Rc<Recorder>,
    pub(super) random: Random,
    /// Others that are still at work.
    pub(super) others: Rc<Cell<usize>>,
    pub(super) chores: Rc<RefCell<Chores>>,
    /// Alarms that are surely set.
    pub(super) raised: BTreeSet<Alarm>,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        while self.others.get() > 0 {
            self.pause(1500).await;
            let Some(store) = self.world.engine() else { continue };
            let alarms = store.alarms().await.expect("alarms are told without asking the log");
            assert!(
                self.raised.iter().all(|alarm| alarms.contains(alarm)),
                "{:?} became {alarms:?}",
                self.raised
            );
            if !alarms.is_empty() {
                self.deal_with(&store, &alarms).await;
                continue;
            }
            match self.random.below(8) {
                0 => self.defragment(&store).await,
                1 | 2 => self.verify(&store).await,
                3 | 4 => self.save(&store),
                5 => self.raise(&store).await,
                6 => drop(store.settle().await),
                _ => {}
            }
        }
    }

    async fn pause(&mut self, most: u64) {
        self.world.pause(Duration::from_millis(1 + self.random.below(most))).await;
    }

    async fn defragment(&mut self, store: &Embedded) {
        let before = store.stats().revision;
        if store.defragment().await.is_ok() {
            self.chores.borrow_mut().defragments += 1;
            assert!(store.stats().revision >= before);
        }
    }

    /// What is on the disk is what was durable when it was asked for, whatever was written since.
    async fn verify(&mut self, store: &Arc<Embedded>) {
        let Ok(held) = store.hold().await else { return };
        self.pause(300).await;
        // The process is gone, and with it who kept the files.
        if !self.world.engine().is_some_and(|now| Arc::ptr_eq(&now, store)) {
            return;
        }
        match held.verify(|done, all| assert!(done <= all, "{done} of {all} bytes")) {
            Ok(report) => {
                assert!(report.revision <= store.stats().revision, "{report:?}");
                self.chores.borrow_mut().verifications += 1;
            }
            Err(error) => panic!("a good store is called bad: {error}"),
        }
    }

    /// A snapshot holds exactly what the store shows, and so does what is restored from it.
    fn save(&mut self, store: &Embedded) {
        let read = |store: &Embedded| {
            let options = RangeOptions::default();
            let range = futures::executor::block_on(store.range(Bytes::new(), to_the_end(), options));
            range.expect("reads need no disk")
        };
        let request = Request::Range(Bytes::new(), to_the_end(), RangeOptions::default());
        let ticket = self.recorder.call(KEEPER, self.world.now(), request);
        let before = read(store);
        self.recorder.done(ticket, self.world.now(), Answer::Range(before.clone()));
        let [file, copy] = [1, 2].map(MemDisk::new);
        let revision = store.save_snapshot_on(&file, "snapshot").expect("saves");
        assert_eq!(revision, before.revision);
        let report = restore_on(&file, "snapshot", Arc::new(copy.clone())).expect("a good snapshot");
        assert_eq!((report.revision, report.keys), (revision, before.kvs.len() as u64));
        let restored = Stepped::open(Arc::new(copy), Options::default()).expect("a good store");
        let after = read(&restored.store());
        assert_eq!((after.revision, after.kvs), (revision, before.kvs));
        let leases =
            |store: &Embedded| -> BTreeSet<(LeaseId, i64)> { store.freeze().leases().into_iter().collect() };
        assert_eq!(leases(&restored.store()), leases(store));
        assert_eq!(futures::executor::block_on(restored.store().alarms()).expect("told"), []);
        self.chores.borrow_mut().snapshots += 1;
    }

    async fn alarm(&mut self, store: &Embedded, alarm: Alarm, is_set: bool) -> Result<(), StoreError> {
        let ticket = self.recorder.call(KEEPER, self.world.now(), Request::Alarm(alarm, is_set));
        let result = match is_set {
            true => store.raise(alarm).await,
            false => store.disarm(alarm).await.map(drop),
        };
        let answer = if result.is_ok() { Answer::Done } else { Answer::Unknown };
        self.recorder.done(ticket, self.world.now(), answer);
        result
    }

    async fn raise(&mut self, store: &Embedded) {
        let alarm = [Alarm::NoSpace, Alarm::Corrupt][self.random.below(2) as usize];
        if self.alarm(store, alarm, true).await.is_ok() {
            self.raised.insert(alarm);
            self.chores.borrow_mut().alarms += 1;
        }
    }

    /// Makes room, then takes alarms back, one after the other.
    async fn deal_with(&mut self, store: &Embedded, alarms: &[Alarm]) {
        for alarm in alarms {
            self.pause(300).await;
            if *alarm == Alarm::NoSpace && !self.raised.contains(alarm) {
                let success = vec![Op::Delete { start: Bytes::new(), end: to_the_end() }];
                let txn = Txn { success, ..Txn::default() };
                let ticket = self.recorder.call(KEEPER, self.world.now(), Request::Txn(txn.clone()));
                let answer = match store.txn(txn).await {
                    Ok(result) => Answer::Txn(result),
                    Err(_) => Answer::Unknown,
                };
                self.chores.borrow_mut().quotas += u64::from(matches!(answer, Answer::Txn(_)));
                self.recorder.done(ticket, self.world.now(), answer);
            }
            self.raised.remove(alarm);
            // Refused while nothing can be written; it is seen again then.
            let _ = self.alarm(store, *alarm, false).await;
        }
    }
}
