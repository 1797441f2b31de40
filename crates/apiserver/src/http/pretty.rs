//! When JSON is indented: on `?pretty`, and for people with browsers and curl, as upstream does.

use crate::request::Query;
use http::HeaderMap;
use http::header::USER_AGENT;

pub(super) fn wanted(query: &Query, headers: &HeaderMap) -> bool {
    if let Some(value) = query.get("pretty").filter(|value| !value.is_empty()) {
        return matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.starts_with(person))
}
