//! `Status`: the one error type at the API, with upstream's codes, reasons and messages.
//!
//! Source: API conventions, "Response Status Kind"; reasons and codes of `meta/v1.Status`.

use crate::field::FieldErrors;
use crate::gvk::{GroupKind, GroupResource};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Machine-readable reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the API's own")]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    #[serde(rename = "")]
    Unknown,
    #[serde(untagged)]
    Other(String),
}

/// One cause of a failure, usually a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// Machine-readable reason such as `FieldValueRequired`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The cause in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// Name of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource (or kind, for invalid objects).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Causes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// Seconds after which to try again; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// The result of a failed (or, for deletions, a successful) API call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// HTTP status code.
    #[serde(default)]
    pub code: u16,
    /// Machine-readable reason.
    #[serde(default = "unknown_reason")]
    pub reason: Reason,
    /// The failure in words.
    #[serde(default)]
    pub message: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<StatusDetails>>,
}

fn unknown_reason() -> Reason {
    Reason::Unknown
}

impl Status {
    /// A failure with a code, a reason and a message.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    /// Adds details.
    #[must_use]
    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn about(self, gr: &GroupResource, name: &str) -> Self {
        self.with_details(StatusDetails {
            name: name.to_owned(),
            group: gr.group.to_string(),
            kind: gr.resource.to_string(),
            ..StatusDetails::default()
        })
    }

    /// 404 for an object.
    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::new(404, Reason::NotFound, format!("{gr} \"{name}\" not found")).about(gr, name)
    }

    /// 404 for a path that nothing serves.
    pub fn no_such_path() -> Self {
        Self::new(404, Reason::NotFound, "the server could not find the requested resource")
            .with_details(StatusDetails::default())
    }

    /// 409 for a name that is taken.
    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::new(409, Reason::AlreadyExists, format!("{gr} \"{name}\" already exists")).about(gr, name)
    }

    /// 409 for a write that lost a race or breaks a precondition.
    pub fn conflict(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        Self::new(409, Reason::Conflict, format!("Operation cannot be fulfilled on {gr} \"{name}\": {why}"))
            .about(gr, name)
    }

    /// 409 for a stale `resourceVersion`, in the words that clients look for.
    pub fn stale(gr: &GroupResource, name: &str) -> Self {
        Self::conflict(
            gr,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 with one cause per field error.
    pub fn invalid(gk: &GroupKind, name: &str, errors: &FieldErrors) -> Self {
        let causes = errors
            .0
            .iter()
            .map(|e| StatusCause {
                reason: e.kind.reason().to_owned(),
                message: e.body(),
                field: e.field.to_string(),
            })
            .collect();
        Self::new(422, Reason::Invalid, format!("{gk} \"{name}\" is invalid: {errors}")).with_details(
            StatusDetails {
                name: name.to_owned(),
                group: gk.group.to_string(),
                kind: gk.kind.to_string(),
                causes,
                ..StatusDetails::default()
            },
        )
    }

    /// 403 for an action on an object; `why` follows a colon.
    pub fn forbidden(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let subject = if name.is_empty() { gr.to_string() } else { format!("{gr} \"{name}\"") };
        Self::new(403, Reason::Forbidden, format!("{subject} is forbidden: {why}")).about(gr, name)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 405.
    pub fn method_not_allowed(gr: &GroupResource, action: &str) -> Self {
        Self::new(
            405,
            Reason::MethodNotAllowed,
            format!("{action} is not supported on resources of kind \"{gr}\""),
        )
        .about(gr, "")
    }

    /// 410 for a resource version that is compacted away.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {message}");
        let causes = vec![StatusCause { message: message.clone(), ..StatusCause::default() }];
        Self::new(500, Reason::InternalError, message)
            .with_details(StatusDetails { causes, ..StatusDetails::default() })
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }

    /// 429 asking to come back after `seconds`.
    pub fn too_many_requests(message: impl Into<String>, seconds: i32) -> Self {
        Self::new(429, Reason::TooManyRequests, message)
            .with_details(StatusDetails { retry_after_seconds: seconds, ..StatusDetails::default() })
    }

    /// 501 for a feature that stands in the list of gaps.
    pub fn not_supported(what: impl fmt::Display) -> Self {
        Self::new(
            501,
            Reason::Other("NotImplemented".to_owned()),
            format!("{what} is not supported by this version of Windlass"),
        )
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether the name was taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// Whether a write lost a race.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Whether a list or watch must start anew (410).
    pub fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// The `Status` object as clients receive it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": if self.code < 400 { "Success" } else { "Failure" },
        });
        if let (Some(into), Ok(serde_json::Value::Object(fields))) =
            (object.as_object_mut(), serde_json::to_value(self))
        {
            for key in ["message", "reason", "details", "code"] {
                if let Some(value) = fields.get(key).filter(|v| v.as_str() != Some("")) {
                    into.insert(key.to_owned(), value.clone());
                }
            }
        }
        object
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_found_is_what_kubectl_expects() {
        let status = Status::not_found(&GroupResource::new("apps", "deployments"), "web");
        assert_eq!(
            status.to_json(),
            serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404})
        );
        let back: Status = serde_json::from_value(status.to_json()).unwrap();
        assert_eq!(back, status);
    }
}
