//! One queue of a priority level.

use super::schema::Schema;
use super::work::Work;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// Requests that share their turn.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiter>,
    pub(super) executing: u32,
    pub(super) seats: u32,
    /// In the level's progress, when its next request starts.
    pub(super) start: f64,
}

impl Queue {
    pub(super) fn is_busy(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    /// What stands before a request that comes now: who waits counts before what runs.
    pub(super) fn load(&self) -> u64 {
        let waiting: u64 = self.waiting.iter().map(|waiter| u64::from(waiter.seats)).sum();
        (waiting << 32) | u64::from(self.seats)
    }
}

/// A request that waits.
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) seats: u32,
    /// Tells it to go on.
    pub(super) go: oneshot::Sender<()>,
    pub(super) schema: Arc<Schema>,
    pub(super) distinguisher: String,
    pub(super) since: SystemTime,
    pub(super) work: Work,
}
