//! [`Query`]: the decoded query of a URL, and the API's options read from it.

use api::transport::{DeleteOptions, ListOptions, Propagation, WriteOptions};
use machinery::Status;

/// Name and value pairs in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query; broken escapes stay as they are.
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every pair.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    fn filled(&self, name: &str) -> Option<String> {
        self.get(name).filter(|v| !v.is_empty()).map(str::to_owned)
    }

    /// A flag: absent, `0` and `false` are false, present without a value is true.
    pub fn flag(&self, name: &str) -> bool {
        self.tri(name).unwrap_or(false)
    }

    /// A flag that may be absent.
    pub fn tri(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| !matches!(value, "0" | "false"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        match self.filled(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "unable to decode query parameter {name:?}: strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }

    fn dry_run(&self) -> Result<bool, Status> {
        let mut found = false;
        for value in self.all("dryRun").filter(|v| !v.is_empty()) {
            if value != "All" {
                return Err(unsupported("dryRun", value, "\"All\""));
            }
            found = true;
        }
        Ok(found)
    }

    /// `meta/v1.ListOptions`.
    pub fn list_options(&self) -> Result<ListOptions, Status> {
        let limit: i64 = self.number("limit")?.unwrap_or(0);
        Ok(ListOptions {
            label_selector: self.filled("labelSelector"),
            field_selector: self.filled("fieldSelector"),
            resource_version: self.filled("resourceVersion"),
            resource_version_match: self.filled("resourceVersionMatch"),
            limit: limit.max(0).unsigned_abs(),
            continue_token: self.filled("continue"),
            allow_bookmarks: self.flag("allowWatchBookmarks"),
            send_initial_events: self.tri("sendInitialEvents"),
            timeout_seconds: self.number::<i64>("timeoutSeconds")?.filter(|s| *s > 0).map(i64::unsigned_abs),
        })
    }

    /// `meta/v1.CreateOptions`, `UpdateOptions` and `PatchOptions`.
    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        let field_validation = self.filled("fieldValidation");
        if let Some(level) = &field_validation
            && !matches!(level.as_str(), "Strict" | "Warn" | "Ignore")
        {
            return Err(unsupported("fieldValidation", level, "\"Ignore\", \"Strict\", \"Warn\""));
        }
        let field_manager = self.filled("fieldManager");
        if let Some(manager) = &field_manager {
            if manager.len() > 128 {
                return Err(invalid_option("fieldManager: Too long: may not be more than 128 bytes"));
            }
            if manager.chars().any(char::is_control) {
                return Err(invalid_option(
                    "fieldManager: Invalid value: must contain only printable characters",
                ));
            }
        }
        Ok(WriteOptions {
            field_manager,
            force: self.flag("force"),
            dry_run: self.dry_run()?,
            field_validation,
        })
    }

    /// `meta/v1.DeleteOptions` as far as the query carries them.
    pub fn delete_options(&self) -> Result<DeleteOptions, Status> {
        let propagation = match self.get("propagationPolicy").filter(|v| !v.is_empty()) {
            None => match self.tri("orphanDependents") {
                None => None,
                Some(true) => Some(Propagation::Orphan),
                Some(false) => Some(Propagation::Background),
            },
            Some(text) => Some(parse_propagation(text)?),
        };
        Ok(DeleteOptions {
            grace_period_seconds: self.number("gracePeriodSeconds")?,
            uid: None,
            resource_version: None,
            propagation,
            dry_run: self.dry_run()?,
        })
    }
}

fn invalid_option(why: &str) -> Status {
    Status::new(422, machinery::Reason::Invalid, format!("options is invalid: {why}"))
}

fn unsupported(field: &str, value: &str, allowed: &str) -> Status {
    invalid_option(&format!("{field}: Unsupported value: {value:?}: supported values: {allowed}"))
}

/// Reads a propagation policy.
pub(crate) fn parse_propagation(text: &str) -> Result<Propagation, Status> {
    match text {
        "Orphan" => Ok(Propagation::Orphan),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        other => Err(unsupported("propagationPolicy", other, "\"Background\", \"Foreground\", \"Orphan\"")),
    }
}

/// Decodes percent escapes; `plus` also turns `+` into a space, as in queries.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
                continue;
            }
            (b'+', ..) if plus => out.push(b' '),
            (other, ..) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_pairs() {
        let query =
            Query::parse(Some("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch&limit=5&dryRun=All&x=%zz"));
        assert_eq!(query.get("labelSelector"), Some("app=web,tier in (a)"));
        assert!(query.flag("watch"));
        assert_eq!(query.get("x"), Some("%zz"));
        assert_eq!(query.list_options().unwrap().limit, 5);
        assert!(query.write_options().unwrap().dry_run);
        assert!(Query::parse(Some("limit=x")).list_options().is_err());
        assert!(Query::parse(Some("dryRun=Some")).write_options().is_err());
    }
}
