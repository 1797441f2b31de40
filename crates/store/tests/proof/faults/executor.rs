//! An executor that polls woken tasks in an order that a seed decides, and a clock that only moves when told to.

use crate::model::Random;
use futures::future::LocalBoxFuture;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct Task {
    future: Option<LocalBoxFuture<'static, ()>>,
    is_woken: Arc<Flag>,
}

/// Tasks, polled one at a time.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: Vec<Task>,
}

impl Executor {
    pub(crate) fn spawn(&mut self, future: LocalBoxFuture<'static, ()>) {
        let is_woken = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.push(Task { future: Some(future), is_woken });
    }

    /// Whether all tasks have ended.
    pub(crate) fn is_done(&self) -> bool {
        self.tasks.iter().all(|task| task.future.is_none())
    }

    /// Polls one of the tasks that can go on; `false` when there is none.
    pub(crate) fn turn(&mut self, random: &mut Random) -> bool {
        let woken: Vec<usize> = (0..self.tasks.len()).filter(|at| self.is_woken(*at)).collect();
        if woken.is_empty() {
            return false;
        }
        self.poll(woken[random.below(woken.len() as u64) as usize]);
        true
    }

    /// Whether a task can go on.
    pub(crate) fn is_woken(&self, at: usize) -> bool {
        let task = &self.tasks[at];
        task.future.is_some() && task.is_woken.0.load(Relaxed)
    }

    /// Polls a task.
    pub(crate) fn poll(&mut self, at: usize) {
        let task = &mut self.tasks[at];
        task.is_woken.0.store(false, Relaxed);
        let waker = Waker::from(task.is_woken.clone());
        if let Some(future) = &mut task.future
            && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            task.future = None;
        }
    }
}

/// The time, in milliseconds. The engine's own may be off by a skew.
#[derive(Debug, Default)]
pub(crate) struct Time {
    now: AtomicU64,
    skew: AtomicI64,
}

impl Time {
    /// The true time.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Relaxed))
    }

    /// What the engine's clock shows.
    pub(crate) fn engine(&self) -> Duration {
        Duration::from_millis((self.now.load(Relaxed) as i64 + self.skew.load(Relaxed)).max(0) as u64)
    }

    /// The true time goes on.
    pub(crate) fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_millis() as u64, Relaxed);
    }

    /// The engine's clock is off by so many milliseconds more.
    pub(crate) fn skew(&self, by: i64) {
        self.skew.fetch_add(by, Relaxed);
    }

    /// A new process: a new epoch.
    pub(crate) fn restart(&self, skew: i64) {
        self.skew.store(skew, Relaxed);
    }
}

/// Who waits for the time.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: RefCell<BTreeMap<(Duration, u64), Waker>>,
    next: RefCell<u64>,
}

impl Timers {
    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.waiting.borrow().keys().next().map(|(at, _)| *at)
    }

    /// Wakes whose time has come.
    pub(crate) fn fire(&self, now: Duration) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
        }
    }

    /// Waits until `at`.
    pub(crate) fn until(self: &Rc<Self>, time: Arc<Time>, at: Duration) -> Pause {
        let id = self.next.replace_with(|next| *next + 1);
        Pause { timers: self.clone(), time, key: (at, id) }
    }
}

/// Waits for a time.
pub(crate) struct Pause {
    timers: Rc<Timers>,
    time: Arc<Time>,
    key: (Duration, u64),
}

impl Future for Pause {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.time.now() >= self.key.0 {
            return Poll::Ready(());
        }
        self.timers.waiting.borrow_mut().insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.timers.waiting.borrow_mut().remove(&self.key);
    }
}
