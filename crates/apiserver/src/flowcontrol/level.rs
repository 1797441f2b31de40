//! [`Level`]: the seats and queues of one priority level.
//!
//! A request that finds a free seat and nobody waiting takes one short lock and goes on. Otherwise it waits in one of
//! the queues that its flow was dealt; freed seats go to the queue whose next request would be served first if every
//! queue got its part of the level second by second (fair queuing for server requests, KEP-1040). Deliberately
//! absent: which requests come here, and how many seats the level has.

use super::limits::Demand;
use super::queue::{Queue, Waiter};
use super::schema::Schema;
use super::shuffle;
use super::work::Work;
use component::{SharedClock, Tasks};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a request is taken to run before anyone knows.
const GUESS: f64 = 0.003;

/// How a level queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) queues: usize,
    pub(super) hand: usize,
    pub(super) length: usize,
}

/// What a level is configured to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything runs at once.
    Exempt,
    /// What finds no seat waits.
    Queue(Shape),
    /// What finds no seat is refused.
    Reject,
}

pub(super) struct State {
    pub(super) mode: Mode,
    pub(super) limit: u32,
    pub(super) queues: Vec<Queue>,
    pub(super) seats: u32,
    pub(super) executing: u32,
    pub(super) waiting: u32,
    waiting_seats: u32,
    /// Queues that have something waiting or running.
    busy: u32,
    /// Seat-seconds that every busy queue could have had so far.
    progress: f64,
    at: Instant,
    /// The queue from which the next choice starts.
    next: usize,
    ids: u64,
    /// Seats that are kept after their request was answered.
    after: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    timer: bool,
    demand: Integral,
}

/// Demand over a period.
#[derive(Default)]
struct Integral {
    seconds: f64,
    sum: f64,
    squares: f64,
    high: u32,
}

/// One priority level. Lives as long as a request is in it, also when its object is gone.
pub(super) struct Level {
    pub(super) name: String,
    clock: SharedClock,
    tasks: Tasks,
    pub(super) state: Mutex<State>,
}

/// What became of a request that came.
pub(super) enum Entry {
    /// It has its seats, on account of this queue.
    Runs(usize),
    Waits(Waiting),
    /// Why not, as the metrics say it.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
    Cancelled,
}

impl Level {
    pub(super) fn new(name: &str, clock: SharedClock, tasks: Tasks) -> Self {
        let state = State {
            mode: Mode::Reject,
            limit: 1,
            queues: Vec::new(),
            seats: 0,
            executing: 0,
            waiting: 0,
            waiting_seats: 0,
            busy: 0,
            progress: 0.0,
            at: clock.instant(),
            next: 0,
            ids: 0,
            after: BinaryHeap::new(),
            timer: false,
            demand: Integral::default(),
        };
        Self { name: name.to_owned(), clock, tasks, state: Mutex::new(state) }
    }

    /// Changes mode and seats; whoever fits now goes on.
    pub(super) fn configure(self: &Arc<Self>, mode: Mode, limit: u32) {
        let mut state = self.state.lock();
        let now = self.clock.instant();
        state.advance(now);
        state.mode = mode;
        if let Mode::Queue(shape) = mode {
            let needed = state.queues.iter().rposition(Queue::is_busy).map_or(0, |last| last + 1);
            state.queues.resize_with(shape.queues.max(needed), Queue::default);
        }
        self.resize(&mut state, limit, now);
    }

    /// Changes the number of seats.
    pub(super) fn set_limit(self: &Arc<Self>, limit: u32) {
        let mut state = self.state.lock();
        let now = self.clock.instant();
        state.advance(now);
        self.resize(&mut state, limit, now);
    }

    fn resize(self: &Arc<Self>, state: &mut State, limit: u32, now: Instant) {
        state.limit = limit.max(1);
        state.dispatch(now);
        self.arm(state);
    }

    /// What was asked for since the last call.
    pub(super) fn take_demand(&self) -> Demand {
        let mut state = self.state.lock();
        state.advance(self.clock.instant());
        let seen = std::mem::take(&mut state.demand);
        state.demand.high = state.seats + state.waiting_seats;
        if seen.seconds <= 0.0 {
            return Demand { high: seen.high, ..Demand::default() };
        }
        let average = seen.sum / seen.seconds;
        let variance = (seen.squares / seen.seconds - average * average).max(0.0);
        Demand { average, deviation: variance.sqrt(), high: seen.high }
    }

    /// A request comes.
    pub(super) fn enter(self: &Arc<Self>, schema: &Arc<Schema>, distinguisher: &str, work: Work) -> Entry {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.advance(now);
        let shape = match state.mode {
            Mode::Exempt => {
                state.take(usize::MAX, work.width());
                return Entry::Runs(usize::MAX);
            }
            Mode::Reject if state.fits(work.width()) => {
                state.take(usize::MAX, work.width());
                return Entry::Runs(usize::MAX);
            }
            Mode::Reject => return Entry::Refused(Refusal::ConcurrencyLimit),
            Mode::Queue(shape) => shape,
        };
        let hash = shuffle::hash(&schema.name, distinguisher);
        let queue = state.choose_queue(hash, shape);
        if state.waiting == 0 && state.fits(work.width()) {
            state.start(queue, work.width());
            return Entry::Runs(queue);
        }
        if state.queues.get(queue).is_none_or(|queue| queue.waiting.len() >= shape.length) {
            return Entry::Refused(Refusal::QueueFull);
        }
        let (go, gone) = oneshot::channel();
        state.ids += 1;
        let id = state.ids;
        let waiter = Waiter {
            id,
            seats: work.width(),
            go,
            schema: schema.clone(),
            distinguisher: distinguisher.to_owned(),
            since: self.clock.now(),
            work,
        };
        let length = state.push(queue, waiter);
        state.dispatch(now);
        self.arm(&mut state);
        Entry::Waits(Waiting {
            level: self.clone(),
            queue,
            id,
            seats: work.width(),
            gone,
            length,
            taken: false,
        })
    }

    /// A request was answered.
    pub(super) fn leave(self: &Arc<Self>, queue: usize, work: Work, ran: Duration) {
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.advance(now);
        state.executing = state.executing.saturating_sub(1);
        let width = work.width();
        if let Some(queue) = state.queues.get_mut(queue) {
            // The guess is put right by what is known now.
            queue.start += f64::from(width) * (ran.as_secs_f64() - GUESS);
        }
        let kept = if work.after.is_zero() { 0 } else { work.last.min(width) };
        if kept > 0 {
            state.after.push(Reverse((now + work.after, queue, kept)));
        }
        state.give(queue, width - kept, kept == 0);
        state.dispatch(now);
        self.arm(&mut state);
    }

    /// Sees to it that seats which are kept for a while come free while someone waits for them.
    fn arm(self: &Arc<Self>, state: &mut State) {
        if state.timer || state.waiting == 0 {
            return;
        }
        let Some(Reverse((due, ..))) = state.after.peek() else { return };
        state.timer = true;
        let sleep = self.clock.sleep(due.saturating_duration_since(self.clock.instant()));
        let level = self.clone();
        self.tasks.spawn_until_stopped("seats kept for watchers", async move {
            sleep.await;
            let now = level.clock.instant();
            let mut state = level.state.lock();
            state.timer = false;
            state.advance(now);
            state.dispatch(now);
            level.arm(&mut state);
        });
    }
}

impl State {
    /// Moves time on.
    fn advance(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let asked = self.seats + self.waiting_seats;
        if seconds > 0.0 {
            if self.busy > 0 {
                self.progress += seconds * f64::from(asked.min(self.limit)) / f64::from(self.busy);
            }
            self.demand.seconds += seconds;
            self.demand.sum += seconds * f64::from(asked);
            self.demand.squares += seconds * f64::from(asked) * f64::from(asked);
        }
        while let Some(Reverse((due, queue, seats))) = self.after.peek().copied() {
            if due > now {
                break;
            }
            self.after.pop();
            self.give(queue, seats, true);
        }
    }

    fn asked(&mut self) {
        self.demand.high = self.demand.high.max(self.seats + self.waiting_seats);
    }

    fn fits(&self, seats: u32) -> bool {
        // What is wider than the whole level runs alone.
        self.seats + seats <= self.limit || (self.seats == 0 && seats > self.limit)
    }

    /// The one of the flow's queues with the least before it.
    fn choose_queue(&self, hash: u64, shape: Shape) -> usize {
        let (mut best, mut least) = (0, u64::MAX);
        shuffle::deal(hash, shape.queues.min(self.queues.len()), shape.hand, |card| {
            let load = self.queues.get(card).map_or(u64::MAX - 1, Queue::load);
            if load < least {
                (best, least) = (card, load);
            }
        });
        best
    }

    fn wake(&mut self, at: usize) {
        if let Some(queue) = self.queues.get_mut(at)
            && !queue.is_busy()
        {
            // An idle queue does not save up for later.
            queue.start = queue.start.max(self.progress);
            self.busy += 1;
        }
    }

    fn push(&mut self, at: usize, waiter: Waiter) -> usize {
        self.wake(at);
        self.waiting += 1;
        self.waiting_seats += waiter.seats;
        self.asked();
        let Some(queue) = self.queues.get_mut(at) else { return 0 };
        queue.waiting.push_back(waiter);
        queue.waiting.len()
    }

    /// Takes seats for a request of a queue.
    fn start(&mut self, at: usize, seats: u32) {
        self.wake(at);
        self.take(at, seats);
    }

    fn take(&mut self, at: usize, seats: u32) {
        self.seats += seats;
        self.executing += 1;
        if let Some(queue) = self.queues.get_mut(at) {
            queue.seats += seats;
            queue.executing += 1;
            queue.start += f64::from(seats) * GUESS;
        }
        self.asked();
    }

    /// Gives seats back; `last` when nothing of their request is left.
    fn give(&mut self, at: usize, seats: u32, last: bool) {
        self.seats = self.seats.saturating_sub(seats);
        if let Some(queue) = self.queues.get_mut(at) {
            queue.seats = queue.seats.saturating_sub(seats);
            if last {
                queue.executing = queue.executing.saturating_sub(1);
                if !queue.is_busy() {
                    self.busy = self.busy.saturating_sub(1);
                }
            }
        }
    }

    /// Lets requests go on as long as there are seats.
    fn dispatch(&mut self, _now: Instant) {
        while self.waiting > 0 {
            let Some(at) = self.first() else { return };
            let Some(seats) = self.queues.get(at).and_then(|q| q.waiting.front()).map(|w| w.seats) else {
                return;
            };
            let free = self.mode == Mode::Exempt || self.fits(seats);
            if !free {
                return;
            }
            let Some(waiter) = self.queues.get_mut(at).and_then(|queue| queue.waiting.pop_front()) else {
                return;
            };
            self.waiting -= 1;
            self.waiting_seats -= seats;
            self.take(at, seats);
            self.next = at + 1;
            // Whoever gave up meanwhile gives the seats back when it finds itself gone from the queue.
            let _ = waiter.go.send(());
        }
    }

    /// The queue whose next request ends first, if every queue gets its part.
    fn first(&self) -> Option<usize> {
        let count = self.queues.len();
        let order = (0..count).map(|step| (self.next + step) % count);
        let ends = order.filter_map(|at| {
            let queue = self.queues.get(at)?;
            let waiter = queue.waiting.front()?;
            Some((at, queue.start + f64::from(waiter.seats) * GUESS))
        });
        // The first of equals, so that queues take turns.
        ends.reduce(|best, other| if other.1 < best.1 { other } else { best }).map(|(at, _)| at)
    }

    fn cancel(&mut self, at: usize, id: u64) -> bool {
        let Some(queue) = self.queues.get_mut(at) else { return false };
        let Some(place) = queue.waiting.iter().position(|waiter| waiter.id == id) else { return false };
        let Some(waiter) = queue.waiting.remove(place) else { return false };
        self.waiting -= 1;
        self.waiting_seats -= waiter.seats;
        if !queue.is_busy() {
            self.busy = self.busy.saturating_sub(1);
        }
        true
    }
}

/// A request that waits. Dropping it gives up its place.
pub(super) struct Waiting {
    level: Arc<Level>,
    pub(super) queue: usize,
    id: u64,
    seats: u32,
    pub(super) gone: oneshot::Receiver<()>,
    /// How many waited in its queue, itself included.
    pub(super) length: usize,
    taken: bool,
}

impl Waiting {
    /// Waits for the seats, at most `patience`; whether there are any.
    pub(super) async fn turn(&mut self, patience: Duration) -> bool {
        let sleep = self.level.clock.sleep(patience);
        tokio::select! {
            biased;
            turn = &mut self.gone => self.taken = turn.is_ok(),
            () = sleep => self.taken = !self.level.state.lock().cancel(self.queue, self.id),
        }
        if !self.taken {
            // Nothing is left to give back.
            self.id = 0;
        }
        self.taken
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.taken || self.id == 0 {
            return;
        }
        let mut state = self.level.state.lock();
        state.advance(self.level.clock.instant());
        if !state.cancel(self.queue, self.id) {
            // Its turn came just before it gave up.
            state.executing = state.executing.saturating_sub(1);
            state.give(self.queue, self.seats, true);
        }
        let now = state.at;
        state.dispatch(now);
    }
}
