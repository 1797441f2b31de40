//! [`Tasks`]: supervised tasks and orderly shutdown. Nothing in Windlass calls `tokio::spawn` bare: a task
//! that panics would vanish in silence, and one that is forgotten would outlive its owner.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// A group of tasks that end together. Clones are handles to the same group.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that ends with this one but can be stopped alone. Its tasks count as this group's.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tracker: self.tracker.clone() }
    }

    /// Cancelled when the group is asked to stop; tasks select on it.
    pub fn stopping(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs `task` until it ends by itself; it should watch [`Tasks::stopping`] to clean up.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(name, Box::pin(task));
    }

    /// Boxed before it meets the runtime: tokio's machinery is compiled once, not for each of hundreds of tasks.
    fn spawn_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.tracker.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked; this is a bug of Windlass, please report it");
            }
        });
    }

    /// Runs `task` until it ends or the group stops, whichever comes first. For tasks with nothing to clean up.
    pub fn spawn_until_stopped(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_until_stopped_boxed(name, Box::pin(task));
    }

    fn spawn_until_stopped_boxed(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let token = self.token.clone();
        self.spawn(name, async move {
            token.run_until_cancelled(task).await;
        });
    }

    /// Runs `work` in a task of its own, for as long as what is returned is kept.
    pub fn run<T: Send + 'static>(&self, work: BoxFuture<'static, T>) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.tracker.spawn(work))
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Asks every task to stop and waits for them, at most `patience`. Returns whether all ended.
    pub async fn stop_and_wait(&self, patience: Duration) -> bool {
        self.stop();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_does_not_take_the_group_down() {
        let tasks = Tasks::new();
        tasks.spawn("bad", async { panic!("boom") });
        tasks.spawn_until_stopped("good", std::future::pending());
        assert!(tasks.stop_and_wait(Duration::from_secs(5)).await);
    }
}
