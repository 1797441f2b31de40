//! EventRateLimit: a bucket of tokens for events of the server, of a namespace, of a user, or of a source and object.

use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::text;
use api::k8s_openapi::api::core::v1::Event;
use async_trait::async_trait;
use component::SharedClock;
use machinery::Status;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Instant;

/// Buckets kept of one limit unless the configuration says otherwise (upstream's).
const CACHE_SIZE: usize = 4096;
/// Seconds after which a refused client may come back.
const RETRY_AFTER: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

const KINDS: [(&str, By); 4] = [
    ("Server", By::Server),
    ("Namespace", By::Namespace),
    ("User", By::User),
    ("SourceAndObject", By::SourceAndObject),
];

struct Bucket {
    tokens: f64,
    at: Instant,
}

struct Limit {
    name: &'static str,
    by: By,
    per_second: f64,
    burst: f64,
    size: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

pub(super) struct EventRateLimit {
    clock: SharedClock,
    limits: Vec<Limit>,
}

fn wrong(why: impl std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "failed to start the admission plugin EventRateLimit: {why}; give it a Configuration with `limits` in the file \
         of --admission-control-config-file"
    ))
}

impl Limit {
    fn read(value: &Value) -> Result<Self, Status> {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let Some((name, by)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            return Err(wrong(format!("{kind:?} is no type of limit")));
        };
        let number = |key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let (per_second, burst) = (number("qps"), number("burst"));
        if per_second <= 0.0 || burst <= 0.0 {
            return Err(wrong(format!("`qps` and `burst` of the limit {kind} must be positive")));
        }
        let size = value.get("cacheSize").and_then(Value::as_u64).filter(|size| *size > 0);
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(CACHE_SIZE);
        Ok(Self { name, by: *by, per_second, burst, size, buckets: Mutex::default() })
    }

    /// Takes a token; whether there was one.
    fn take(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= self.size && !buckets.contains_key(key) {
            // The one that was not used for the longest time goes.
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: self.burst, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.burst);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn source_and_object(event: &Event) -> String {
    let (source, about) = (event.source.as_ref(), &event.involved_object);
    [
        source.map(|source| text(&source.component)).unwrap_or_default(),
        source.map(|source| text(&source.host)).unwrap_or_default(),
        text(&about.kind),
        text(&about.namespace),
        text(&about.name),
        text(&about.uid),
        text(&about.api_version),
    ]
    .concat()
}

impl EventRateLimit {
    pub(super) fn new(context: &Context, configuration: Option<&Value>) -> Result<Self, Status> {
        let limits = configuration.and_then(|value| value.get("limits")).and_then(Value::as_array);
        let limits = limits.into_iter().flatten().map(Limit::read).collect::<Result<Vec<_>, _>>()?;
        if limits.is_empty() {
            return Err(wrong("it has no limits"));
        }
        Ok(Self { clock: context.clock.clone(), limits })
    }
}

#[async_trait]
impl Admission for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.dry_run || !request.is("", "events") {
            return Ok(());
        }
        let event = request.object.as_deref().and_then(|object| object.downcast_ref::<Event>());
        let now = self.clock.instant();
        let mut refused = Vec::new();
        // Every limit counts the event, also when another one refuses it.
        for limit in &self.limits {
            let key = match limit.by {
                By::Server => String::new(),
                By::Namespace => request.namespace.clone(),
                By::User => request.user.name.clone(),
                By::SourceAndObject => event.map(source_and_object).unwrap_or_default(),
            };
            if !limit.take(&key, now) {
                refused.push(format!("limit reached on type {} for key {key}", limit.name));
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(Status::too_many_requests(refused.join("; "), RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn buckets_fill_again() {
        let limit = Limit::read(&json!({"type": "User", "qps": 2, "burst": 3, "cacheSize": 2})).unwrap();
        let start = Instant::now();
        assert_eq!((0..5).filter(|_| limit.take("a", start)).count(), 3);
        assert!(limit.take("b", start), "another key, another bucket");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| limit.take("a", later)).count(), 2);
        // A third key pushes out the one that was not used for the longest time.
        assert!(limit.take("c", later));
        assert_eq!(limit.buckets.lock().len(), 2);
        assert!(limit.buckets.lock().contains_key("a"));
        assert!(Limit::read(&json!({"type": "Other", "qps": 1, "burst": 1})).is_err());
        assert!(Limit::read(&json!({"type": "User"})).is_err());
    }
}
