//! [`Answers`]: what the streams of one HTTP/2 connection send, polled by the connection's own task.
//!
//! hyper hands each stream of a connection to an executor. With a task for each of them, an event that a thousand
//! watches on ten connections wait for would wake a thousand tasks, and each would ask for the lock of its connection
//! while another core holds it. Here it wakes ten tasks, and a stream writes where its frames are sent from. What
//! takes long before it answers runs in a task of its own (see [`crate::serve::Handler::is_brief`]).
//!
//! Deliberately absent: fairness between the streams of a connection beyond what HTTP/2's windows give.

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// The executor that takes a connection's streams.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl<F> hyper::rt::Executor<F> for Arrivals
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.lock().push(Box::pin(future));
    }
}

/// The streams of one connection that are not finished.
pub(crate) struct Answers {
    arrivals: Arrivals,
    open: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Answers {
    /// Those that `arrivals` takes.
    pub(crate) fn new(arrivals: Arrivals) -> Self {
        Self { arrivals, open: FuturesUnordered::new() }
    }

    /// Lets every stream go on that can.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) {
        let arrived = std::mem::take(&mut *self.arrivals.0.lock());
        self.open.extend(arrived);
        let open = &mut self.open;
        let turn = std::future::poll_fn(move |cx| {
            while let Poll::Ready(Some(())) = open.poll_next_unpin(cx) {}
            Poll::Pending::<()>
        });
        // Hundreds of streams would soon use up the budget of one task. What a stream may send at once is bounded.
        let _ = std::pin::pin!(tokio::task::unconstrained(turn)).poll(cx);
    }
}

/// The waker of a connection: who is woken while it runs makes it run on, instead of being scheduled once more.
pub(crate) struct Nudge {
    /// Something was woken since the last look.
    is_set: AtomicBool,
    is_running: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, SeqCst);
        // If it runs, it looks once more after it has said that it does not.
        if !self.is_running.load(SeqCst) {
            self.task.wake();
        }
    }
}

/// Turns of a connection before other tasks get theirs.
const TURNS: usize = 16;

impl Nudge {
    /// A waker, and itself.
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let this = Self {
            is_set: AtomicBool::new(false),
            is_running: AtomicBool::new(false),
            task: AtomicWaker::new(),
        };
        let this = Arc::new(this);
        (this.clone(), this.into())
    }

    /// Calls `turn` until it is ready or nothing was woken by it or meanwhile. `turn` uses the waker of `new`.
    pub(crate) fn run<T>(&self, cx: &mut Context<'_>, mut turn: impl FnMut() -> Poll<T>) -> Poll<T> {
        self.task.register(cx.waker());
        for _ in 0..TURNS {
            self.is_running.store(true, SeqCst);
            self.is_set.store(false, SeqCst);
            let polled = turn();
            self.is_running.store(false, SeqCst);
            if polled.is_ready() || !self.is_set.load(SeqCst) {
                return polled;
            }
            if !tokio::task::coop::has_budget_remaining() {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;
    use hyper::rt::Executor;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_wake_during_a_turn_makes_another() {
        let (nudge, waker) = Nudge::new();
        let (outer, turns) = (noop_waker(), AtomicUsize::new(0));
        let polled = nudge.run(&mut Context::from_waker(&outer), || {
            if turns.fetch_add(1, SeqCst) < 2 {
                waker.wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(turns.load(SeqCst), 3);
    }

    #[test]
    fn whoever_never_rests_lets_others_run() {
        let (nudge, waker) = Nudge::new();
        let count = Arc::new(Count::default());
        let outer: Waker = count.clone().into();
        let polled = nudge.run(&mut Context::from_waker(&outer), || {
            waker.wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(count.0.load(SeqCst), 1, "the task is scheduled again");
        waker.wake_by_ref();
        assert_eq!(count.0.load(SeqCst), 2, "a wake between turns reaches the task");
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn streams_run_when_they_are_woken() {
        let arrivals = Arrivals::default();
        let mut answers = Answers::new(arrivals.clone());
        let (send, receive) = tokio::sync::oneshot::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        arrivals.execute(async move {
            let _ = receive.await;
            seen.store(true, SeqCst);
        });
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        answers.advance(&mut cx);
        assert!(!done.load(SeqCst));
        send.send(()).unwrap();
        answers.advance(&mut cx);
        assert!(done.load(SeqCst) && answers.open.is_empty());
    }
}
