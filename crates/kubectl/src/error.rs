//! [`Error`]: how a command fails, in the words and with the exit codes of upstream's kubectl.

use machinery::{Reason, Status};
use std::fmt;

/// How a command fails.
#[derive(Debug)]
pub(crate) enum Error {
    /// The API server said no.
    Api(Box<Status>),
    /// Something else; printed after `error: `.
    Message(String),
    /// Printed as it is.
    Plain(String),
    /// Everything was said; the process ends with this code.
    Exit(u8),
    /// Several things failed, each told on its own line.
    Many(Vec<Error>),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error from a text.
pub(crate) fn message(text: impl Into<String>) -> Error {
    Error::Message(text.into())
}

/// Fails with a text.
pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(message(text))
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Api(Box::new(status))
    }
}

impl From<client::config::ConfigError> for Error {
    fn from(error: client::config::ConfigError) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::Exit(1)
        } else {
            Self::Message(error.to_string())
        }
    }
}

impl From<machinery::codec::CodecError> for Error {
    fn from(error: machinery::codec::CodecError) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Message(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Error {
    /// Ends the process with this code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Exit(code) => *code,
            _ => 1,
        }
    }

    /// What to print.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Api(status) => api_text(status),
            Self::Message(text) => format!("error: {text}"),
            Self::Plain(text) => text.clone(),
            Self::Exit(_) => String::new(),
            Self::Many(errors) => {
                let lines: Vec<String> =
                    errors.iter().map(Self::text).filter(|text| !text.is_empty()).collect();
                lines.join("\n")
            }
        }
    }

    /// The API server's answer, if that is what failed.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the server was not reached at all.
    pub(crate) fn is_local(&self) -> bool {
        self.status().is_some_and(is_local)
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// Says what was being done when the API server said no.
    pub(crate) fn during(mut self, action: &str, source: &str) -> Self {
        if let Self::Api(status) = &mut self
            && !is_local(status)
        {
            status.message = format!("error when {action} {source:?}: {}", status.message);
        }
        self
    }

    /// One error of many.
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Many(errors)),
        }
    }
}

const UNREACHABLE: &str = "failed to reach the API server at ";

/// Whether the answer was made up by the client because there was none.
fn is_local(status: &Status) -> bool {
    status.message.starts_with(UNREACHABLE)
}

fn api_text(status: &Status) -> String {
    if let Some(rest) = status.message.strip_prefix(UNREACHABLE) {
        let (server, why) = rest.split_once(": ").unwrap_or((rest, ""));
        let host = server.split("://").last().unwrap_or(server);
        if why.to_lowercase().contains("connection refused") {
            return format!(
                "The connection to the server {host} was refused - did you specify the right host or port?"
            );
        }
        return format!("Unable to connect to the server: {why}");
    }
    match &status.reason {
        Reason::Unauthorized => format!("error: You must be logged in to the server ({})", status.message),
        Reason::Invalid => invalid_text(status),
        reason => {
            let reason = serde_json::to_value(reason).ok();
            match reason.as_ref().and_then(|reason| reason.as_str()).filter(|text| !text.is_empty()) {
                Some(reason) => format!("Error from server ({reason}): {}", status.message),
                None => format!("Error from server: {}", status.message),
            }
        }
    }
}

fn invalid_text(status: &Status) -> String {
    let Some(details) = &status.details else {
        return format!("The request is invalid: {}", status.message);
    };
    let subject = if details.kind.is_empty() && details.name.is_empty() {
        "The request is invalid".to_owned()
    } else {
        format!("The {} {:?} is invalid", details.kind, details.name)
    };
    let causes: Vec<String> = details
        .causes
        .iter()
        .map(|cause| {
            if cause.field.is_empty() {
                cause.message.clone()
            } else {
                format!("{}: {}", cause.field, cause.message)
            }
        })
        .collect();
    match causes.as_slice() {
        [] => format!("{subject}: {}", status.message),
        [one] => format!("{subject}: {one}"),
        many => format!("{subject}: \n* {}", many.join("\n* ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{FieldErrors, FieldPath, GroupKind, GroupResource};

    #[test]
    fn says_what_upstream_says() {
        let missing = Error::from(Status::not_found(&GroupResource::new("", "pods"), "x"));
        assert_eq!(missing.text(), "Error from server (NotFound): pods \"x\" not found");
        let within = missing.during("creating", "f.yaml");
        assert_eq!(
            within.text(),
            "Error from server (NotFound): error when creating \"f.yaml\": pods \"x\" not found"
        );
        let mut errors = FieldErrors::new();
        errors.required(FieldPath::new("spec").child("a"), "");
        let one = Error::from(Status::invalid(&GroupKind::new("apps", "Deployment"), "web", &errors));
        assert_eq!(
            one.text(),
            "The Deployment.apps \"web\" is invalid: spec.a: Required value".replace(".apps", "")
        );
        errors.required(FieldPath::new("spec").child("b"), "");
        let two = Error::from(Status::invalid(&GroupKind::new("", "Pod"), "web", &errors));
        assert_eq!(
            two.text(),
            "The Pod \"web\" is invalid: \n* spec.a: Required value\n* spec.b: Required value"
        );
        let down = Status::unavailable(
            "failed to reach the API server at https://127.0.0.1:1: Connection refused (os error 111); check",
        );
        assert_eq!(
            Error::from(down).text(),
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"
        );
        assert_eq!(message("no").text(), "error: no");
    }
}
