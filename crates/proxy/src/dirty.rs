//! Which Services have changed since the last round.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// A set of `namespace/name` that can be waited for. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    shared: Arc<(Mutex<BTreeSet<String>>, Notify)>,
}

impl Dirty {
    /// Notes a change.
    pub(crate) fn add(&self, service: String) {
        self.shared.0.lock().insert(service);
        self.shared.1.notify_one();
    }

    /// Takes all changes; waits until there is one. Whatever comes while a round runs is one next round.
    pub(crate) async fn take(&self) -> BTreeSet<String> {
        loop {
            let changed = self.shared.1.notified();
            let taken = std::mem::take(&mut *self.shared.0.lock());
            if !taken.is_empty() {
                return taken;
            }
            changed.await;
        }
    }
}
