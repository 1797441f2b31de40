//! The webhook authorizer: a server decides, by `SubjectAccessReview`, and its answers are remembered.
//!
//! Source: "Webhook Mode"; `WebhookConfiguration` of AuthorizationConfiguration.

use crate::contract::{Attributes, Authorizer, Decision, UserInfo};
use crate::remote::Remote;
use async_trait::async_trait;
use component::{SharedClock, Tasks};
use machinery::labels::{Operator, Selector};
use machinery::{Status, fields};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Answers that are remembered (upstream's size).
const REMEMBERED: usize = 8192;
/// Longer questions are not remembered (upstream's bound, against clients that fill the memory).
const MAX_KEY: usize = 10_000;
/// Tries where the server cannot be reached, and the first pause (upstream's).
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// What is known of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSettings {
    /// Names it in errors.
    pub name: String,
    /// Names the server.
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1`.
    pub version: String,
    /// How long one try may take.
    pub timeout: Duration,
    /// How long a yes is remembered; none is not.
    pub authorized_ttl: Duration,
    /// How long a no is remembered; none is not.
    pub unauthorized_ttl: Duration,
    /// Whether a webhook that does not answer means no; else the next authorizer is asked.
    pub deny_on_failure: bool,
}

/// The authorizer.
pub(super) struct Webhook {
    settings: WebhookSettings,
    remote: Remote,
    clock: SharedClock,
    known: Mutex<HashMap<String, (Instant, Decision)>>,
}

impl Webhook {
    /// Reads the kubeconfig. Fails when it cannot be used.
    pub(super) fn new(settings: WebhookSettings, clock: &SharedClock, tasks: &Tasks) -> Result<Self, Status> {
        let remote = Remote::of_kubeconfig(&settings.kubeconfig, tasks).map_err(Status::internal)?;
        Ok(Self { settings, remote, clock: clock.clone(), known: Mutex::default() })
    }

    async fn ask(&self, spec: &str) -> Result<Decision, String> {
        let body = format!(
            r#"{{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/{}","metadata":{{}},"spec":{spec},"status":{{"allowed":false}}}}"#,
            self.settings.version
        );
        let body = bytes::Bytes::from(body);
        let answer =
            self.remote.post_again(&body, self.settings.timeout, (TRIES, PAUSE), &self.clock).await?;
        let review: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let flag =
            |name: &str| review.pointer(&format!("/status/{name}")).and_then(Value::as_bool) == Some(true);
        let reason = review.pointer("/status/reason").and_then(Value::as_str).unwrap_or_default().to_owned();
        match (flag("allowed"), flag("denied")) {
            (true, true) => {
                Err("webhook subject access review returned both allow and deny response".to_owned())
            }
            (true, false) => Ok(Decision::Allow),
            (false, true) => Ok(Decision::Deny(reason)),
            (false, false) => Ok(Decision::NoOpinion(reason)),
        }
    }
}

#[async_trait]
impl Authorizer for Webhook {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let spec = spec(attributes).to_string();
        let now = self.clock.instant();
        if let Some((until, decision)) = self.known.lock().get(&spec)
            && *until > now
        {
            return decision.clone();
        }
        match self.ask(&spec).await {
            Ok(decision) => {
                let ttl = match decision {
                    Decision::Allow => self.settings.authorized_ttl,
                    _ => self.settings.unauthorized_ttl,
                };
                if !ttl.is_zero() && spec.len() < MAX_KEY {
                    let mut known = self.known.lock();
                    if known.len() >= REMEMBERED {
                        known.retain(|_, (until, _)| *until > now);
                        if known.len() >= REMEMBERED {
                            known.clear();
                        }
                    }
                    known.insert(spec, (now + ttl, decision.clone()));
                }
                decision
            }
            Err(error) => {
                tracing::error!(
                    webhook = self.settings.name,
                    "failed to make webhook authorizer request: {error}"
                );
                let reason = "webhook authorizer failed".to_owned();
                match self.settings.deny_on_failure {
                    true => Decision::Deny(reason),
                    false => Decision::NoOpinion(String::new()),
                }
            }
        }
    }
}

/// `SubjectAccessReviewSpec`.
pub(super) fn spec(attributes: &Attributes) -> Value {
    let mut spec = Map::new();
    let mut asked = Map::new();
    let mut set = |key: &str, text: &str| {
        if !text.is_empty() {
            asked.insert(key.to_owned(), json!(text));
        }
    };
    if attributes.resource_request {
        set("namespace", &attributes.namespace);
        set("verb", &attributes.verb);
        set("group", &attributes.group);
        set("version", &attributes.version);
        set("resource", &attributes.resource);
        set("subresource", &attributes.subresource);
        set("name", &attributes.name);
        if let Some(requirements) = attributes.field_selector.as_deref().and_then(field_requirements) {
            asked.insert("fieldSelector".to_owned(), json!({"requirements": requirements}));
        }
        if let Some(requirements) = attributes.label_selector.as_deref().and_then(label_requirements) {
            asked.insert("labelSelector".to_owned(), json!({"requirements": requirements}));
        }
        spec.insert("resourceAttributes".to_owned(), Value::Object(asked));
    } else {
        set("path", &attributes.path);
        set("verb", &attributes.verb);
        spec.insert("nonResourceAttributes".to_owned(), Value::Object(asked));
    }
    let UserInfo { name, uid, groups, extra } = attributes.user.as_ref();
    spec.insert("user".to_owned(), json!(name));
    if !groups.is_empty() {
        spec.insert("groups".to_owned(), json!(groups));
    }
    if !extra.is_empty() {
        spec.insert("extra".to_owned(), json!(extra));
    }
    if !uid.is_empty() {
        spec.insert("uid".to_owned(), json!(uid));
    }
    Value::Object(spec)
}

/// The terms of a field selector; one that cannot be read restricts nothing.
fn field_requirements(text: &str) -> Option<Vec<Value>> {
    let selector = fields::Selector::parse(text).ok()?;
    let operator = |negated: bool| if negated { "NotIn" } else { "In" };
    let terms = selector.terms().iter();
    let all: Vec<Value> = terms
        .map(|term| json!({"key": term.field, "operator": operator(term.negated), "values": [term.value]}))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// The requirements of a label selector; those that reviews have no word for are left out.
fn label_requirements(text: &str) -> Option<Vec<Value>> {
    let selector = Selector::parse(text).ok()?;
    let one = |requirement: &machinery::labels::Requirement| {
        let operator = match requirement.operator() {
            Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            _ => return None,
        };
        let values: Vec<&str> = requirement.values().collect();
        let mut shown = json!({"key": requirement.key(), "operator": operator});
        if !values.is_empty() {
            shown["values"] = json!(values);
        }
        Some(shown)
    };
    let all: Vec<Value> = selector.requirements().iter().filter_map(one).collect();
    (!all.is_empty()).then_some(all)
}
