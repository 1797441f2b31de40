//! The plain limits that stand in when priority and fairness is off: so many reading and so many writing requests at
//! once, the rest is refused.
//!
//! Members of `system:masters` are let through beyond the limit, so that a cluster can be repaired. Deliberately
//! absent: queues.

use super::Settings;
use crate::contract::Attributes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) struct Inflight {
    reading: Arc<AtomicU32>,
    writing: Arc<AtomicU32>,
    settings: Settings,
}

/// A request within the limits; dropping it makes room.
pub(crate) struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inflight {
    pub(super) fn new(settings: Settings) -> Self {
        Self { reading: Arc::default(), writing: Arc::default(), settings }
    }

    /// `None` refuses; `Some(None)` is not counted.
    pub(super) fn enter(&self, asked: &Attributes) -> Option<Option<Place>> {
        if asked.verb == "watch" {
            return Some(None);
        }
        let (count, limit) = if matches!(asked.verb.as_ref(), "get" | "list" | "head") {
            (&self.reading, self.settings.max_requests)
        } else {
            (&self.writing, self.settings.max_mutating_requests)
        };
        if limit == 0 {
            return Some(None);
        }
        let place = Place(count.clone());
        if count.fetch_add(1, Ordering::Relaxed) < limit {
            return Some(Some(place));
        }
        asked.user.in_group("system:masters").then_some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::UserInfo;

    #[test]
    fn reading_and_writing_have_limits_of_their_own() {
        let settings = Settings { enabled: false, max_requests: 2, max_mutating_requests: 1 };
        let inflight = Inflight::new(settings);
        let ask = |verb: &'static str, group: &str| Attributes {
            user: Arc::new(UserInfo::new("u", &[group])),
            verb: verb.into(),
            ..Attributes::default()
        };
        let first = inflight.enter(&ask("create", "dev"));
        assert!(matches!(first, Some(Some(_))));
        assert!(inflight.enter(&ask("delete", "dev")).is_none());
        assert!(matches!(inflight.enter(&ask("delete", "system:masters")), Some(None)));
        let reads = [inflight.enter(&ask("get", "dev")), inflight.enter(&ask("list", "dev"))];
        assert!(reads.iter().all(|read| matches!(read, Some(Some(_)))));
        assert!(inflight.enter(&ask("get", "dev")).is_none());
        assert!(matches!(inflight.enter(&ask("watch", "dev")), Some(None)));
        drop(first);
        assert!(matches!(inflight.enter(&ask("create", "dev")), Some(Some(_))));
    }
}
