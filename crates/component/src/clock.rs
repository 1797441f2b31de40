//! [`Clock`]: the only source of time, so that tests own it. Everything that waits or stamps asks a clock.

use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A source of time; share as [`SharedClock`].
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time, for stamps that leave the process.
    fn now(&self) -> SystemTime;
    /// Monotonic time, for durations.
    fn instant(&self) -> Instant;
    /// Waits at least `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A clock that many share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// As a [`SharedClock`].
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
    fn instant(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until a test advances it.
#[derive(Debug)]
pub struct FakeClock {
    start: Instant,
    state: Mutex<FakeState>,
}

#[derive(Debug)]
struct FakeState {
    wall: SystemTime,
    elapsed: Duration,
    sleepers: Vec<(Duration, tokio::sync::oneshot::Sender<()>)>,
}

impl FakeClock {
    /// A clock that shows `wall`.
    pub fn new(wall: SystemTime) -> Arc<Self> {
        let state = FakeState { wall, elapsed: Duration::ZERO, sleepers: Vec::new() };
        Arc::new(Self { start: Instant::now(), state: Mutex::new(state) })
    }

    /// Moves time on and wakes whoever slept until then.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.wall += by;
        state.elapsed += by;
        let elapsed = state.elapsed;
        let (due, later) =
            std::mem::take(&mut state.sleepers).into_iter().partition(|(at, _)| *at <= elapsed);
        state.sleepers = later;
        for (_, wake) in due {
            // A sleeper that was dropped no longer cares.
            let _ = wake.send(());
        }
    }

    /// How many sleep now: lets a test advance only once its subject waits.
    pub fn sleepers(&self) -> usize {
        let mut state = self.state.lock();
        state.sleepers.retain(|(_, wake)| !wake.is_closed());
        state.sleepers.len()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        self.state.lock().wall
    }
    fn instant(&self) -> Instant {
        self.start + self.state.lock().elapsed
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = tokio::sync::oneshot::channel();
        let mut state = self.state.lock();
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let at = state.elapsed + duration;
        state.sleepers.push((at, wake));
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_due() {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH);
        let sleep = clock.sleep(Duration::from_secs(5));
        clock.advance(Duration::from_secs(4));
        assert_eq!(clock.sleepers(), 1);
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    }
}
