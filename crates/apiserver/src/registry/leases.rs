//! Leases of the store for objects that expire by themselves: Events.
//!
//! One lease serves all events of a minute, as upstream does, so that there are dozens of leases, not millions.

use component::SharedClock;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{LeaseId, Store, StoreError};

/// How long one lease takes new keys.
const REUSE: Duration = Duration::from_secs(60);

pub(super) struct Leases {
    store: Arc<dyn Store>,
    clock: SharedClock,
    ttl: Duration,
    current: Mutex<Option<(LeaseId, Instant)>>,
}

impl Leases {
    pub(super) fn new(store: Arc<dyn Store>, clock: SharedClock, ttl: Duration) -> Self {
        Self { store, clock, ttl, current: Mutex::new(None) }
    }

    /// A lease that ends `ttl` from now, or up to a minute later.
    pub(super) async fn get(&self) -> Result<LeaseId, StoreError> {
        let now = self.clock.instant();
        if let Some((lease, since)) = *self.current.lock()
            && now.saturating_duration_since(since) < REUSE
        {
            return Ok(lease);
        }
        let seconds = i64::try_from((self.ttl + REUSE).as_secs()).unwrap_or(i64::MAX);
        let lease = self.store.lease_grant(0, seconds).await?;
        *self.current.lock() = Some((lease, now));
        Ok(lease)
    }
}
