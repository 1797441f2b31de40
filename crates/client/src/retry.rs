//! [`retry_on_conflict`]: read, change, write; again when another writer came first.

use crate::backoff::jittered;
use component::Clock;
use machinery::Status;
use std::future::Future;
use std::time::Duration;

/// How often a write is tried: upstream's `retry.DefaultRetry`.
const STEPS: usize = 5;
const DELAY: Duration = Duration::from_millis(10);

/// Runs `attempt` until it does not end in a conflict, at most five times, 10 ms apart. `attempt` must read the
/// object anew each time. The last conflict is returned when all attempts lost.
pub async fn retry_on_conflict<T, F, Fut>(clock: &dyn Clock, mut attempt: F) -> Result<T, Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    for _ in 1..STEPS {
        match attempt().await {
            Err(status) if status.is_conflict() => clock.sleep(jittered(DELAY, 0.1)).await,
            outcome => return outcome,
        }
    }
    attempt().await
}
