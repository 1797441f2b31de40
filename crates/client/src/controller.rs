//! The reconcile loop: workers that take keys from a [`WorkQueue`] and retry what failed.

use crate::queue::WorkQueue;
use component::Tasks;
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
    Fut: Future<Output = Result<Requeue, E>> + Send,
{
    let reconcile = Arc::new(reconcile);
    for _ in 0..workers.max(1) {
        let (queue, reconcile) = (queue.clone(), reconcile.clone());
        tasks.spawn_until_stopped(name, async move {
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
        });
    }
    let (queue, stopping) = (queue.clone(), tasks.stopping().clone());
    tasks.spawn(name, async move {
        stopping.cancelled().await;
        queue.shut_down();
    });
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
