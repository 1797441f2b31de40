//! Bodies that are no objects: options of deletions, statuses, lists of discovery. Like [`Kind`](crate::Kind)
//! for objects, [`Wire`] keeps serde for them in this crate; and the options of connections, which come in a
//! query.

use crate::object::DecodeError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, Status, WatchEvent,
};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use k8s_openapi::apimachinery::pkg::version::Info;

/// A type that is sent and received but is no object.
pub trait Wire: Sized {
    /// Parses JSON.
    fn from_json(json: &[u8]) -> Result<Self, DecodeError>;
    /// Writes JSON.
    fn to_json(&self) -> Vec<u8>;
}

macro_rules! wire {
    ($($ty:ty),+ $(,)?) => { $(impl Wire for $ty {
        fn from_json(json: &[u8]) -> Result<Self, DecodeError> {
            Ok(serde_json::from_slice(json)?)
        }
        fn to_json(&self) -> Vec<u8> {
            // Writing to memory fails only for maps with keys that are not strings; the API has none.
            serde_json::to_vec(self).unwrap_or_default()
        }
    })+ };
}
wire!(
    APIGroup,
    APIGroupList,
    APIResourceList,
    APIVersions,
    DeleteOptions,
    Info,
    Status,
    WatchEvent<RawExtension>,
);

/// Reads a query's options: `get` gives the first value of a key.
struct Query<'a>(&'a [(String, String)]);

impl Query<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// A flag; anything but a false value is true, as Go's conversion of queries has it.
    fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !["false", "0", "f", "F", "FALSE", "False"].contains(&value))
    }

    fn number(&self, key: &str) -> Result<Option<i64>, DecodeError> {
        let parse = |value: &str| {
            value.parse().map_err(|_| DecodeError(format!("{key}: {value:?} is not a whole number")))
        };
        self.get(key).filter(|value| !value.is_empty()).map(parse).transpose()
    }
}

/// Options of `pods/exec` and, without a command, of `pods/attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodExecOptions {
    /// Send input.
    pub stdin: bool,
    /// Receive output.
    pub stdout: bool,
    /// Receive errors.
    pub stderr: bool,
    /// Run on a terminal.
    pub tty: bool,
    /// Which container; empty when the pod has only one.
    pub container: Option<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
}

impl PodExecOptions {
    /// Reads a decoded query.
    pub fn from_query(query: &[(String, String)]) -> Self {
        let q = Query(query);
        Self {
            stdin: q.flag("stdin"),
            stdout: q.flag("stdout"),
            stderr: q.flag("stderr"),
            tty: q.flag("tty"),
            container: q.text("container"),
            command: query.iter().filter(|(k, _)| k == "command").map(|(_, v)| v.clone()).collect(),
        }
    }
}

/// Options of `pods/log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLogOptions {
    /// Which container; empty when the pod has only one.
    pub container: Option<String>,
    /// Go on as more is written.
    pub follow: bool,
    /// The container that ran before the present one.
    pub previous: bool,
    /// Only the last so many seconds.
    pub since_seconds: Option<i64>,
    /// Only from this time on, RFC 3339.
    pub since_time: Option<String>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<i64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<i64>,
    /// `All`, `Stdout` or `Stderr`.
    pub stream: Option<String>,
}

impl PodLogOptions {
    /// Reads a decoded query; the error names the option.
    pub fn from_query(query: &[(String, String)]) -> Result<Self, DecodeError> {
        let q = Query(query);
        Ok(Self {
            container: q.text("container"),
            follow: q.flag("follow"),
            previous: q.flag("previous"),
            since_seconds: q.number("sinceSeconds")?,
            since_time: q.text("sinceTime"),
            timestamps: q.flag("timestamps"),
            tail_lines: q.number("tailLines")?,
            limit_bytes: q.number("limitBytes")?,
            stream: q.text("stream"),
        })
    }

    /// Reports options that contradict each other.
    pub fn validate(&self, errors: &mut machinery::FieldErrors) {
        let path = machinery::FieldPath::new;
        if let Some(lines @ ..0) = self.tail_lines {
            errors.invalid(path("tailLines"), lines, "must be greater than or equal to 0");
        }
        if let Some(bytes @ ..1) = self.limit_bytes {
            errors.invalid(path("limitBytes"), bytes, "must be greater than 0");
        }
        match (&self.since_seconds, &self.since_time) {
            (Some(_), Some(_)) => {
                errors.forbidden(path(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
            }
            (Some(seconds @ ..1), None) => {
                errors.invalid(path("sinceSeconds"), *seconds, "must be greater than 0");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_options() {
        let query = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let options = PodExecOptions::from_query(&query(&[
            ("command", "sh"),
            ("command", "-c"),
            ("stdin", "true"),
            ("tty", "false"),
        ]));
        assert_eq!(options.command, ["sh", "-c"]);
        assert!(options.stdin && !options.tty);
        let logs = PodLogOptions::from_query(&query(&[("tailLines", "5"), ("follow", "true")])).unwrap();
        assert_eq!(logs.tail_lines, Some(5));
        assert!(PodLogOptions::from_query(&query(&[("tailLines", "x")])).is_err());
    }
}
