//! One run: clients, engine, disk and clock under one seed.

use super::disk::{Background, Habits, SimDisk};
use super::executor::{Executor, Time, Timers};
use super::keeper::{Chores, Keeper};
use super::{FOUND, WITHOUT_KEEPER};
use crate::model::workload::{Plan, World, tasks};
use crate::model::{Answer, History, Quota, Random, Recorder, Request, to_the_end};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use store::embedded::disk::Disk;
use store::embedded::disk::memory::{Fault, MemDisk};
use store::embedded::{Embedded, KEY_OVERHEAD, Options, Stepped};
use store::maintenance::{Alarm, Maintenance};
use store::{RangeOptions, Store, StoreError};

/// Steps after which a run is stuck.
const MOST_STEPS: u64 = 400_000;

/// What went wrong in a run, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) kills: u64,
    pub(crate) power_losses: u64,
    pub(crate) read_only: u64,
    pub(crate) failed_opens: u64,
    pub(crate) flips_refused: u64,
    pub(crate) flips_harmless: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) slow_syncs: u64,
    pub(crate) checkpoints: u64,
    /// Full disks that had room again, after which the store went on by itself.
    pub(crate) recovered: u64,
    pub(crate) chores: Chores,
}

impl std::ops::AddAssign for Troubles {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.read_only += other.read_only;
        self.failed_opens += other.failed_opens;
        self.flips_refused += other.flips_refused;
        self.flips_harmless += other.flips_harmless;
        self.clock_jumps += other.clock_jumps;
        self.slow_syncs += other.slow_syncs;
        self.checkpoints += other.checkpoints;
        self.recovered += other.recovered;
        self.chores += other.chores;
    }
}

pub(super) struct SimWorld {
    store: RefCell<Option<Arc<Embedded>>>,
    time: Arc<Time>,
    timers: Rc<Timers>,
}

impl SimWorld {
    /// The engine, unless it is down.
    pub(super) fn engine(&self) -> Option<Arc<Embedded>> {
        self.store.borrow().clone()
    }
}

impl World for SimWorld {
    fn store(&self) -> Option<Arc<dyn Store>> {
        self.engine().map(|store| store as Arc<dyn Store>)
    }

    fn now(&self) -> Duration {
        self.time.now()
    }

    fn pause(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        self.timers.until(self.time.clone(), self.time.now() + time).boxed_local()
    }
}

fn has_keeper(seed: u64) -> bool {
    seed >= WITHOUT_KEEPER && !FOUND.contains(&seed)
}

/// Bytes that the keys may take; for some seeds so few that they are used up.
fn quota(seed: u64) -> u64 {
    let mut random = Random::new(seed.rotate_left(17));
    match has_keeper(seed) && random.below(3) == 0 {
        true => 4500 + random.below(4000),
        false => Options::default().quota,
    }
}

pub(crate) struct Sim {
    seed: u64,
    random: Random,
    disk: SimDisk,
    time: Arc<Time>,
    timers: Rc<Timers>,
    world: Rc<SimWorld>,
    recorder: Rc<Recorder>,
    executor: Executor,
    options: Options,
    engine: Option<Stepped>,
    background: Option<(store::Revision, Background)>,
    steps: u64,
    next_trouble: u64,
    troubles_left: u64,
    /// The next trouble must bring the store back.
    is_sick: bool,
    chores: Rc<RefCell<Chores>>,
    has_keeper: bool,
    pub(crate) troubles: Troubles,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let time = Arc::new(Time::default());
        time.restart(1_000_000_000);
        let timers = Rc::new(Timers::default());
        let inner = MemDisk::new(random.number());
        let disk = SimDisk { inner, habits: Arc::new(Habits::default()), time: time.clone() };
        let clock = time.clone();
        let options = Options {
            history: Duration::from_secs(20 + random.below(60)),
            history_revisions: 30 + random.below(60) as usize,
            segment_bytes: 600 + random.below(3000),
            checkpoint_bytes: 500 + random.below(4000),
            watch_buffer: 1 + random.below(6) as usize,
            quota: quota(seed),
            clock: Arc::new(move || clock.engine()),
            ..Options::default()
        };
        let world = SimWorld { store: RefCell::default(), time: time.clone(), timers: timers.clone() };
        let world = Rc::new(world);
        let recorder = Rc::new(Recorder::new(|history| {
            history.auto_compaction = true;
            history.exact_ttl = true;
            history.quota = Some(Quota { bytes: options.quota, overhead: KEY_OVERHEAD });
        }));
        let plan = Plan {
            seed: random.number(),
            clients: 1 + random.below(5) as usize,
            operations: 10 + random.below(30) as usize,
            watchers: random.below(4) as usize,
            value: if random.below(4) == 0 { 1500 } else { 100 },
            think: Duration::from_millis([20, 500, 3000][random.below(3) as usize]),
            ..Plan::default()
        };
        let mut executor = Executor::default();
        let tasks = tasks(world.clone(), recorder.clone(), plan);
        let others = Rc::new(Cell::new(tasks.len()));
        for task in tasks {
            let others = others.clone();
            executor.spawn(task.map(move |()| others.set(others.get() - 1)).boxed_local());
        }
        let chores = Rc::new(RefCell::default());
        let has_keeper = has_keeper(seed);
        if has_keeper {
            let (world, recorder, chores) = (world.clone(), recorder.clone(), chores.clone());
            let random = Random::new(!seed);
            let keeper = Keeper { world, recorder, random, others, chores, raised: BTreeSet::new() };
            executor.spawn(keeper.run().boxed_local());
        }
        Self {
            seed,
            disk,
            time,
            timers,
            world,
            recorder,
            executor,
            options,
            engine: None,
            background: None,
            steps: 0,
            next_trouble: 100 + random.below(400),
            troubles_left: random.below(8),
            is_sick: false,
            chores,
            has_keeper,
            troubles: Troubles::default(),
            random,
        }
    }

    /// Works until all is done and verified; the history.
    pub(crate) fn run(&mut self) -> History {
        self.open();
        while !self.executor.is_done() {
            self.steps += 1;
            assert!(self.steps < MOST_STEPS, "seed {}: nobody comes to an end", self.seed);
            if self.steps >= self.next_trouble && (self.troubles_left > 0 || self.is_sick) {
                self.trouble();
            }
            self.step();
        }
        self.afterwards();
        self.troubles.chores = *self.chores.borrow();
        self.recorder.history()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => {
                if !self.executor.turn(&mut self.random) {
                    self.idle();
                }
            }
            60..75 => {
                let most = 1 + self.random.below(4) as usize;
                self.engine().stage(most);
            }
            75..86 => self.finish(),
            86..91 => drop(self.engine().hand_out()),
            91..93 => self.engine().progress(),
            93..95 => drop(self.engine().forget()),
            95..98 => self.checkpoint(),
            _ => {
                let by = Duration::from_millis(self.random.below(100));
                self.pass_time(by);
            }
        }
    }

    fn engine(&mut self) -> &mut Stepped {
        self.engine.as_mut().expect("is open")
    }

    /// Nobody can go on: let the engine do what it has, or else time pass.
    fn idle(&mut self) {
        self.engine().stage(usize::MAX);
        self.finish();
        if self.has_keeper {
            self.do_chores();
        }
        while self.engine().hand_out() {}
        self.engine().progress();
        if self.executor.turn(&mut self.random) {
            return;
        }
        let next = self.timers.next();
        let Some(next) = next else {
            panic!("seed {}: everyone waits and nothing will happen", self.seed);
        };
        self.pass_time(next.saturating_sub(self.time.now()));
    }

    /// What the keeper may wait for.
    fn do_chores(&mut self) {
        while self.engine().forget() {}
        self.checkpoint();
        while self.background.is_some() {
            self.checkpoint();
        }
        self.finish();
    }

    fn pass_time(&mut self, by: Duration) {
        self.time.advance(by);
        self.timers.fire(self.time.now());
    }

    /// The one that watches everything sees what there is, before history may be forgotten.
    fn let_observe(&mut self) {
        while self.engine().hand_out() {}
        while self.executor.is_woken(0) {
            self.executor.poll(0);
        }
    }

    fn finish(&mut self) {
        self.let_observe();
        self.engine().finish();
        self.timers.fire(self.time.now());
        let has_failed = self.engine().store().failure().is_some();
        // Only a full disk gets well by itself.
        self.is_sick &= has_failed;
        if has_failed && !self.is_sick {
            self.is_sick = true;
            self.troubles.read_only += 1;
            self.next_trouble = self.steps + self.random.below(200);
        }
    }

    fn checkpoint(&mut self) {
        if let Some((revision, background)) = &self.background {
            if let Some(result) = background.step() {
                let revision = *revision;
                self.background = None;
                self.troubles.checkpoints += u64::from(result.is_ok());
                self.engine().checkpointed(revision, result);
            }
        } else if let Some(job) = self.engine().checkpoint() {
            self.background = Some((job.revision(), Background::start(move || job.run())));
        }
    }

    fn trouble(&mut self) {
        self.next_trouble = self.steps + 50 + self.random.below(500);
        self.troubles_left = self.troubles_left.saturating_sub(1);
        let at = self.disk.inner.operations() + 1 + self.random.below(12);
        if self.is_sick && self.disk.inner.is_full() && self.random.below(3) > 0 {
            return self.make_room();
        }
        if self.is_sick {
            return match self.random.below(2) {
                0 => self.kill(false),
                _ => self.kill(true),
            };
        }
        match self.random.below(12) {
            0 | 1 => self.kill(false),
            2 => self.kill(true),
            3 | 4 => self.disk.inner.set_fault(Fault::Power(at)),
            5 => self.disk.inner.set_fault(Fault::Io(at)),
            6 => self.disk.inner.set_fault(Fault::Sync(at)),
            7 => self.disk.inner.set_fault(Fault::NoSpace(at)),
            8 => {
                self.troubles.clock_jumps += 1;
                let by = Duration::from_millis(self.random.below(100_000));
                self.pass_time(by);
            }
            9 => {
                self.troubles.clock_jumps += 1;
                let by = self.random.below(100_000) as i64;
                self.time.skew(-by);
            }
            10 => {
                let slow = [0, 10, 1500][self.random.below(3) as usize];
                self.troubles.slow_syncs += u64::from(slow > 0);
                self.disk.habits.slow_sync.store(slow, Relaxed);
            }
            _ => self.flip(),
        }
    }

    /// The disk has room again: the store must notice by itself.
    fn make_room(&mut self) {
        self.disk.inner.set_fault(Fault::None);
        let is_full = |sim: &mut Self| {
            let alarms = futures::executor::block_on(sim.engine().store().alarms());
            sim.engine().store().failure().is_some() && alarms.expect("told").contains(&Alarm::NoSpace)
        };
        let was_full = is_full(self);
        // Not just once: the clock may have gone back meanwhile.
        for _ in 0..1000 {
            if !is_full(self) {
                break;
            }
            self.pass_time(Duration::from_secs(1));
            self.finish();
        }
        assert!(!is_full(self), "seed {}: it does not recover from a full disk", self.seed);
        self.troubles.recovered += u64::from(was_full);
    }

    /// The process dies; with it the power, maybe.
    fn kill(&mut self, power: bool) {
        self.background = None;
        *self.world.store.borrow_mut() = None;
        self.engine = None;
        let is_off = power || self.disk.inner.is_off();
        if is_off {
            self.troubles.power_losses += 1;
            self.disk.inner.crash();
        } else {
            self.troubles.kills += 1;
            self.disk.inner.set_fault(Fault::None);
        }
        self.reopen();
    }

    fn try_open(&mut self) -> Result<Stepped, StoreError> {
        self.time.restart(1_000_000_000 + self.random.below(1_000_000) as i64);
        Stepped::open(Arc::new(self.disk.clone()), self.options.clone())
    }

    /// Opens, possibly hit by more accidents.
    fn reopen(&mut self) {
        self.is_sick = false;
        while self.random.below(3) == 0 {
            let at = self.disk.inner.operations() + 1 + self.random.below(8);
            match self.random.below(4) {
                0 => self.disk.inner.set_fault(Fault::Power(at)),
                1 => self.disk.inner.set_fault(Fault::Io(at)),
                2 => self.disk.inner.set_fault(Fault::Sync(at)),
                _ => self.disk.habits.failing_read.store(1 + self.random.below(20), Relaxed),
            }
            match self.try_open() {
                Ok(engine) => drop(engine),
                Err(StoreError::Io(_)) => self.troubles.failed_opens += 1,
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
            self.disk.habits.failing_read.store(0, Relaxed);
            match self.disk.inner.is_off() || self.random.below(2) == 0 {
                true => self.disk.inner.crash(),
                false => self.disk.inner.set_fault(Fault::None),
            }
        }
        self.open();
    }

    fn open(&mut self) {
        let engine = self.try_open().unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        *self.world.store.borrow_mut() = Some(engine.store());
        self.engine = Some(engine);
        // Long enough for the one that watches everything to try again.
        self.pass_time(Duration::from_millis(200));
        self.let_observe();
        self.let_observe();
    }

    /// A bit of a file turns while the process is away: refused by name, or of no consequence.
    fn flip(&mut self) {
        self.background = None;
        *self.world.store.borrow_mut() = None;
        self.engine = None;
        self.disk.inner.set_fault(Fault::None);
        let names = self.disk.inner.list().expect("lists");
        let name = names[self.random.below(names.len() as u64) as usize].clone();
        let len = self.disk.inner.open(&name).and_then(|file| file.size()).expect("has a size");
        let bit = self.random.below((len * 8).max(1));
        self.disk.inner.flip(&name, bit);
        match self.try_open() {
            Ok(_) => self.troubles.flips_harmless += 1,
            Err(StoreError::Corrupt { file, .. }) => {
                assert!(file.ends_with(&name), "seed {}: {file} instead of {name}", self.seed);
                self.troubles.flips_refused += 1;
                self.disk.inner.flip(&name, bit);
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
        self.reopen();
    }

    /// What is there after everything, and that leases end at last.
    fn afterwards(&mut self) {
        let power = self.random.below(2) == 0;
        self.kill(power);
        let (start, end) = (Bytes::new(), to_the_end());
        let options = RangeOptions::default();
        let read = |sim: &mut Self| {
            let store = sim.engine().store();
            futures::executor::block_on(store.range(start.clone(), end.clone(), options.clone()))
        };
        let request = Request::Range(start.clone(), end.clone(), options.clone());
        let ticket = self.recorder.call(usize::MAX, self.time.now(), request);
        let range = read(self).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.recorder.done(ticket, self.time.now(), Answer::Range(range));
        self.time.advance(Duration::from_secs(1_000_000));
        self.engine().finish();
        let left = read(self).expect("reads").kvs;
        assert!(left.iter().all(|kv| kv.lease == 0), "seed {}: leases live for ever: {left:?}", self.seed);
    }
}
