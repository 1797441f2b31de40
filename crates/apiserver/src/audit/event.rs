//! One audit event, as JSON and as the older line of text.

use super::policy::{Level, Stage};
use crate::contract::UserInfo;
use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// Annotation of events that lost their objects because they were too large.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// An event that is not changed any more. Its JSON is made once, however many want it.
#[derive(Debug)]
pub(crate) struct Event {
    fields: Map<String, Value>,
    json: OnceLock<Bytes>,
}

/// The object that a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource_version: String,
    pub(crate) subresource: String,
}

/// What is known of a request so far.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) id: String,
    pub(crate) uri: String,
    pub(crate) verb: String,
    pub(crate) user: Arc<UserInfo>,
    pub(crate) impersonated: Option<Arc<UserInfo>>,
    /// Which constraint allowed the impersonation (KEP-5284); empty for the plain verb.
    pub(crate) constraint: String,
    pub(crate) sources: Vec<String>,
    pub(crate) agent: String,
    pub(crate) object: Option<Reference>,
    pub(crate) status: Option<Value>,
    pub(crate) request: Option<Value>,
    pub(crate) response: Option<Value>,
    pub(crate) received: SystemTime,
    pub(crate) annotations: Map<String, Value>,
}

/// A time of the wall clock.
pub(super) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_duration(since.try_into().ok()?).ok()
}

/// A time as the API writes times with microseconds.
fn stamp(time: SystemTime) -> Value {
    timestamp(time).map_or(Value::Null, |time| Value::String(format!("{time:.6}")))
}

fn user(user: &UserInfo) -> Value {
    let mut fields = Map::new();
    if !user.name.is_empty() {
        fields.insert("username".to_owned(), json!(user.name));
    }
    if !user.uid.is_empty() {
        fields.insert("uid".to_owned(), json!(user.uid));
    }
    if !user.groups.is_empty() {
        fields.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        fields.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(fields)
}

impl Reference {
    fn json(&self) -> Value {
        let mut fields = Map::new();
        for (key, text) in [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("apiGroup", &self.group),
            ("apiVersion", &self.version),
            ("resourceVersion", &self.resource_version),
            ("subresource", &self.subresource),
        ] {
            if !text.is_empty() {
                fields.insert(key.to_owned(), json!(text));
            }
        }
        Value::Object(fields)
    }
}

impl Record {
    /// The event of a stage.
    pub(crate) fn event(&self, stage: Stage, now: SystemTime) -> Event {
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        set("kind", json!("Event"));
        set("apiVersion", json!("audit.k8s.io/v1"));
        set("level", json!(self.level.as_str()));
        set("auditID", json!(self.id));
        set("stage", json!(stage.as_str()));
        set("requestURI", json!(self.uri));
        set("verb", json!(self.verb));
        set("user", user(&self.user));
        if let Some(impersonated) = &self.impersonated {
            set("impersonatedUser", user(impersonated));
        }
        if !self.constraint.is_empty() {
            set("authenticationMetadata", json!({"impersonationConstraint": self.constraint}));
        }
        if !self.sources.is_empty() {
            set("sourceIPs", json!(self.sources));
        }
        if !self.agent.is_empty() {
            set("userAgent", json!(self.agent));
        }
        if let Some(object) = &self.object {
            set("objectRef", object.json());
        }
        for (key, value) in [
            ("responseStatus", &self.status),
            ("requestObject", &self.request),
            ("responseObject", &self.response),
        ] {
            if let Some(value) = value {
                set(key, value.clone());
            }
        }
        set("requestReceivedTimestamp", stamp(self.received));
        set("stageTimestamp", stamp(now));
        if !self.annotations.is_empty() {
            set("annotations", Value::Object(self.annotations.clone()));
        }
        Event::of(fields)
    }
}

/// A list of texts in quotes, in quotes.
fn list(texts: Option<&Value>) -> String {
    let texts = texts.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let quoted: Vec<String> = texts.map(|text| format!("{text:?}")).collect();
    format!("{:?}", quoted.join(","))
}

impl Event {
    fn of(fields: Map<String, Value>) -> Self {
        Self { fields, json: OnceLock::new() }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> &Bytes {
        self.json.get_or_init(|| serde_json::to_vec(&self.fields).unwrap_or_default().into())
    }

    /// For logs about it.
    pub(crate) fn id(&self) -> &str {
        self.fields.get("auditID").and_then(Value::as_str).unwrap_or_default()
    }

    /// This event if it has at most so many bytes; else without its objects; `None` if that is still too large.
    pub(crate) fn within(self: &Arc<Self>, bytes: usize) -> Option<Arc<Self>> {
        if self.json().len() <= bytes {
            return Some(self.clone());
        }
        let mut fields = self.fields.clone();
        fields.shift_remove("requestObject");
        fields.shift_remove("responseObject");
        let annotations = fields.entry("annotations").or_insert_with(|| json!({}));
        annotations[TRUNCATED] = json!("true");
        let small = Arc::new(Self::of(fields));
        (small.json().len() <= bytes).then_some(small)
    }

    /// As a line of `--audit-log-format legacy`.
    pub(crate) fn legacy(&self) -> String {
        let at = |pointer: &str| {
            let parts = pointer.split('/');
            let mut value = self.fields.get(parts.clone().next()?)?;
            for part in parts.skip(1) {
                value = value.get(part)?;
            }
            Some(value)
        };
        let text = |pointer: &str, none: &'static str| {
            at(pointer).and_then(Value::as_str).unwrap_or(none).to_owned()
        };
        let who = at("user").map_or("<none>".to_owned(), |_| text("user/username", ""));
        let groups = at("user/groups").map_or("\"<none>\"".to_owned(), |groups| list(Some(groups)));
        let (as_user, as_groups) = match at("impersonatedUser") {
            None => ("<self>".to_owned(), "\"<lookup>\"".to_owned()),
            Some(_) => (
                text("impersonatedUser/username", ""),
                at("impersonatedUser/groups").map_or("\"<lookup>\"".to_owned(), |groups| list(Some(groups))),
            ),
        };
        let code = at("responseStatus/code").map_or("<deferred>".to_owned(), Value::to_string);
        let mut line = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            line,
            "{} AUDIT: id={:?} stage={:?} ip={:?} method={:?} user={who:?} groups={groups} as={as_user:?} \
             asgroups={as_groups} user-agent={:?} namespace={:?} uri={:?} response=\"{code}\"",
            text("requestReceivedTimestamp", ""),
            self.id(),
            text("stage", ""),
            at("sourceIPs").and_then(|ips| ips.get(0)).and_then(Value::as_str).unwrap_or("<unknown>"),
            text("verb", ""),
            text("userAgent", ""),
            text("objectRef/namespace", "<none>"),
            text("requestURI", ""),
        );
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            level: Level::Request,
            id: "i".to_owned(),
            uri: "/api/v1/namespaces/d/pods".to_owned(),
            verb: "create".to_owned(),
            user: Arc::new(UserInfo::new("u", &["a", "b"])),
            impersonated: None,
            constraint: String::new(),
            sources: vec!["127.0.0.1".to_owned()],
            agent: "k/1".to_owned(),
            object: Some(Reference {
                resource: "pods".into(),
                namespace: "d".into(),
                ..Reference::default()
            }),
            status: Some(json!({"metadata": {}, "code": 201})),
            request: Some(json!({"x": "y".repeat(200)})),
            response: None,
            received: SystemTime::UNIX_EPOCH,
            annotations: Map::new(),
        }
    }

    #[test]
    fn large_events_lose_their_objects_and_then_everything() {
        let event = Arc::new(record().event(Stage::ResponseComplete, SystemTime::UNIX_EPOCH));
        assert!(Arc::ptr_eq(&event.within(10_000).unwrap(), &event));
        let small: Value = serde_json::from_slice(event.within(600).unwrap().json()).unwrap();
        assert_eq!(
            (&small["requestObject"], &small["annotations"][TRUNCATED]),
            (&Value::Null, &json!("true"))
        );
        assert!(event.within(100).is_none());
    }

    #[test]
    fn the_old_format_is_one_line() {
        let event = record().event(Stage::ResponseComplete, SystemTime::UNIX_EPOCH);
        assert_eq!(
            event.legacy(),
            "1970-01-01T00:00:00.000000Z AUDIT: id=\"i\" stage=\"ResponseComplete\" ip=\"127.0.0.1\" \
             method=\"create\" user=\"u\" groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\" asgroups=\"<lookup>\" \
             user-agent=\"k/1\" namespace=\"d\" uri=\"/api/v1/namespaces/d/pods\" response=\"201\""
        );
    }
}
