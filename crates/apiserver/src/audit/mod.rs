//! Audit: who asked for what, when, and how it ended, as a policy chooses, to a file and to a webhook.
//!
//! Source: "Auditing"; audit.k8s.io/v1. Without a policy there is no [`Auditor`], and requests pass nothing of this.
//! Whatever happens while a request is served finds its record with [`annotate`] and its like, which do nothing
//! when it is not recorded. Deliberately absent: events of the server's own calls, and of what is proxied inside an
//! upgraded connection.

pub(crate) mod body;
mod event;
mod log;
mod policy;
mod sink;
mod trail;
mod transport;
mod webhook;

pub use log::LogFile;
pub use sink::{Batch, Feeding, Mode};
pub(crate) use trail::Trail;
pub(crate) use transport::audited;

use crate::config_file;
use crate::contract::{Attributes, Context, UserInfo};
use crate::remote::Remote;
use event::{Event, Record};
use machinery::Status;
use policy::{Level, Policy};
use serde_json::Value;
use sink::{Open, Sink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A webhook for audit events.
#[derive(Clone, Debug)]
pub struct AuditWebhook {
    /// Names the server.
    pub kubeconfig: PathBuf,
    /// Pause before the first retry.
    pub initial_backoff: Duration,
    /// How it is fed.
    pub feeding: Feeding,
}

/// What is audited (`--audit-*`).
#[derive(Clone, Debug, Default)]
pub struct AuditConfig {
    /// The policy; without one nothing is recorded.
    pub policy: Option<PathBuf>,
    /// Events to a file.
    pub log: Option<(LogFile, Feeding)>,
    /// Events to a server.
    pub webhook: Option<AuditWebhook>,
}

/// Records requests.
pub(crate) struct Auditor {
    policy: Policy,
    sinks: Vec<Sink>,
    open: Arc<Open>,
    clock: component::SharedClock,
}

fn failed(what: &str, path: &std::path::Path, why: impl std::fmt::Display) -> Status {
    Status::internal(format!("failed to use the {what} {}: {why}", path.display()))
}

/// Reads the policy and opens the backends; `None` when auditing is off.
pub(crate) fn start(context: &Context) -> Result<Option<Arc<Auditor>>, Status> {
    let config = &context.config.audit;
    let Some(path) = &config.policy else {
        if config.log.is_some() || config.webhook.is_some() {
            tracing::warn!("no audit policy was given; no audit events are recorded");
        }
        return Ok(None);
    };
    let bytes = std::fs::read(path).map_err(|error| failed("audit policy", path, error))?;
    let policy = Policy::read(&bytes).map_err(|error| failed("audit policy", path, error))?;
    let open = Arc::new(Open::default());
    let mut sinks = Vec::new();
    let tools = || (context.clock.clone(), &context.tasks);
    if let Some((file, feeding)) = &config.log {
        let log = log::Log::open(file.clone(), context.clock.clone());
        let log = log.map_err(|error| failed("audit log", &file.path, error))?;
        sinks.push(Sink::start(Arc::new(log), *feeding, tools(), open.clone()));
    }
    if let Some(hook) = &config.webhook {
        let remote = Remote::of_kubeconfig(&hook.kubeconfig, &context.tasks).map_err(Status::internal)?;
        let backend =
            webhook::Webhook { remote, backoff: hook.initial_backoff, clock: context.clock.clone() };
        sinks.push(Sink::start(Arc::new(backend), hook.feeding, tools(), open.clone()));
    }
    if sinks.is_empty() {
        tracing::warn!(
            "an audit policy was given, but neither a log nor a webhook; no audit events are recorded"
        );
        return Ok(None);
    }
    Ok(Some(Arc::new(Auditor { policy, sinks, open, clock: context.clock.clone() })))
}

/// What a request says of itself before it is served.
pub(crate) struct Asked<'a> {
    pub(crate) attributes: &'a Attributes,
    pub(crate) id: String,
    pub(crate) uri: String,
    pub(crate) sources: Vec<String>,
    pub(crate) agent: String,
}

impl Auditor {
    /// Begins to record a request; `None` when the policy does not want it.
    pub(crate) fn begin(self: &Arc<Self>, asked: Asked<'_>) -> Option<Arc<Trail>> {
        let attributes = asked.attributes;
        let verdict = self.policy.verdict(attributes);
        if verdict.level == Level::None {
            return None;
        }
        let object = attributes.resource_request.then(|| event::Reference {
            resource: attributes.resource.to_string(),
            namespace: attributes.namespace.clone(),
            name: attributes.name.clone(),
            group: attributes.group.to_string(),
            version: attributes.version.to_string(),
            subresource: attributes.subresource.to_string(),
            ..event::Reference::default()
        });
        let record = Record {
            level: verdict.level,
            id: asked.id,
            uri: asked.uri,
            verb: attributes.verb.to_string(),
            user: attributes.user.clone(),
            impersonated: None,
            constraint: String::new(),
            sources: asked.sources,
            agent: asked.agent,
            object,
            status: None,
            request: None,
            response: None,
            received: self.clock.now(),
            annotations: serde_json::Map::new(),
        };
        Some(Trail::new(self.clone(), verdict, record))
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Hands an event to every backend.
    async fn send(&self, event: Event) -> Result<(), Status> {
        let event = Arc::new(event);
        let mut result = Ok(());
        for sink in &self.sinks {
            if sink.send(&event).await.is_err() {
                result = Err(Status::internal("unable to update the audit log"));
            }
        }
        result
    }

    /// Hands an event to every backend, where nobody can wait.
    fn push(&self, event: Event) {
        let event = Arc::new(event);
        for sink in &self.sinks {
            if let Some(event) = sink.fitting(&event) {
                sink.push(event);
            }
        }
    }
}

/// Adds an annotation to the record of the request that is being served, if there is one. The first value of a key
/// stays.
pub fn annotate(key: &str, value: impl FnOnce() -> String) {
    trail::with(|trail| trail.annotate(key, value()));
}

/// The sender of the request that is being served acts as `user`, as `constraint` (KEP-5284), if any, allows.
pub(crate) fn impersonated(user: &Arc<UserInfo>, constraint: &str) {
    trail::with(|trail| trail.impersonated(user.clone(), constraint.to_owned()));
}

/// The object that the request brings.
pub(crate) fn request_object(object: &dyn api::Object) {
    trail::with(|trail| trail.request_object(object));
}

/// The body of a request that brings no object: a patch, options.
pub(crate) fn request_bytes(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    trail::with(|trail| {
        trail.request_value(|| machinery::codec::decode_any(bytes).ok().map(|decoded| decoded.value));
    });
}

/// Removes who manages which field, from an object or the items of a list.
fn without_managed_fields(value: &mut Value) {
    let strip = |value: &mut Value| {
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.shift_remove("managedFields");
        }
    };
    strip(value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
}

/// Reads the duration flags of webhooks as Go writes durations.
pub fn parse_duration(text: &str) -> Option<Duration> {
    config_file::duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_go_from_lists_too() {
        let mut list = json!({"metadata": {}, "items": [{"metadata": {"name": "a", "managedFields": []}}]});
        without_managed_fields(&mut list);
        assert_eq!(list, json!({"metadata": {}, "items": [{"metadata": {"name": "a"}}]}));
    }
}
