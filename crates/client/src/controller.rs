//! The reconcile loop: workers that take keys from a [`WorkQueue`] and retry what failed.

use crate::queue::WorkQueue;
use component::Tasks;
use futures::future::BoxFuture;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// What a reconciler wants after success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requeue {
    /// To be called when something changes.
    #[default]
    No,
    /// To be called after a time in any case.
    After(Duration),
}

impl From<Option<Duration>> for Requeue {
    fn from(delay: Option<Duration>) -> Self {
        delay.map_or(Self::No, Self::After)
    }
}

/// Starts `workers` tasks that call `reconcile` with keys of `queue` until the group stops. A failed key comes back
/// after a growing delay; the failure is logged here, once, and nowhere else.
pub fn run_workers<T, E, F, Fut>(
    name: &'static str,
    workers: usize,
    queue: &WorkQueue<T>,
    tasks: &Tasks,
    reconcile: F,
) where
    T: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static,
    E: fmt::Display + Send,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, E>> + Send + 'static,
{
    let reconcile: Reconcile<T> = Arc::new(move |key| {
        let outcome = reconcile(key);
        Box::pin(async move { outcome.await.map_err(|error| error.to_string()) })
    });
    for _ in 0..workers.max(1) {
        tasks.spawn_until_stopped(name, work(name, queue.clone(), reconcile.clone()));
    }
    let (queue, stopping) = (queue.clone(), tasks.stopping().clone());
    tasks.spawn(name, async move {
        stopping.cancelled().await;
        queue.shut_down();
    });
}

/// Why a reconciler failed.
type Failure = String;

/// A reconciler whose own types are hidden, so that the loop around it is compiled once for a type of key.
type Reconcile<T> = Arc<dyn Fn(T) -> BoxFuture<'static, Result<Requeue, Failure>> + Send + Sync>;

async fn work<T>(name: &'static str, queue: WorkQueue<T>, reconcile: Reconcile<T>)
where
    T: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static,
{
    while let Some(key) = queue.get().await {
        let given_back = GiveBack { queue: &queue, key: &key };
        match reconcile(key.clone()).await {
            Ok(requeue) => {
                queue.forget(&key);
                if let Requeue::After(delay) = requeue {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error) => {
                let delay = queue.add_rate_limited(key.clone());
                if queue.failures(&key) > 3 {
                    tracing::warn!(controller = name, %key, ?delay, "failed to reconcile: {error}; retrying");
                } else {
                    tracing::debug!(controller = name, %key, ?delay, "failed to reconcile: {error}; retrying");
                }
            }
        }
        drop(given_back);
    }
}

/// Gives the key back also when the reconciler panics, so that the key is not lost for ever.
struct GiveBack<'a, T: Clone + Eq + Hash + Send + 'static> {
    queue: &'a WorkQueue<T>,
    key: &'a T,
}

impl<T: Clone + Eq + Hash + Send + 'static> Drop for GiveBack<'_, T> {
    fn drop(&mut self) {
        self.queue.done(self.key);
    }
}
