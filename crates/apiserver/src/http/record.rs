//! What the audit record of a request takes from HTTP.

use super::filters::AUDIT_ID;
use super::respond::status_response;
use crate::audit::{Asked, Auditor, Trail, body};
use crate::contract::UserInfo;
use crate::request::RequestInfo;
use component::serve::{ConnInfo, Response};
use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderMap, USER_AGENT};
use http::request::Parts;
use machinery::Status;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// Longer ids of clients are cut.
const MAX_ID: usize = 64;
/// Longer user agents are cut (upstream's limit).
const MAX_AGENT: usize = 1024;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Whom the request comes from: what proxies say of it, in order, then who is connected.
fn sources(headers: &HeaderMap, connection: &ConnInfo) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let said = [text(headers, "x-forwarded-for"), text(headers, "x-real-ip")];
    let said = said.iter().flat_map(|list| list.split(',')).filter_map(|ip| ip.trim().parse::<IpAddr>().ok());
    for ip in said.chain([connection.peer.ip()]) {
        let ip = ip.to_string();
        if !all.contains(&ip) {
            all.push(ip);
        }
    }
    all
}

/// Begins the record, if the policy wants one. Whom nobody knows is recorded without a name.
pub(super) fn begin(
    auditor: &Arc<Auditor>,
    info: &RequestInfo,
    parts: &Parts,
    connection: &ConnInfo,
    found: &Result<Arc<UserInfo>, Status>,
) -> Option<Arc<Trail>> {
    let user = found.as_ref().map(Clone::clone).unwrap_or_default();
    let id = match cut(text(&parts.headers, AUDIT_ID.as_str()), MAX_ID) {
        "" => crate::registry::fresh_uid(),
        given => given.to_owned(),
    };
    auditor.begin(Asked {
        attributes: &info.attributes(&user),
        id,
        uri: parts.uri.to_string(),
        sources: sources(&parts.headers, connection),
        agent: cut(text(&parts.headers, USER_AGENT.as_str()), MAX_AGENT).to_owned(),
    })
}

fn named(trail: &Trail, mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::try_from(trail.id()) {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    response
}

/// Records that nobody was identified. Which kind of credentials was shown is told, not what they were.
pub(super) async fn refused(trail: &Trail, parts: &Parts, status: &Status) -> Response {
    let scheme =
        text(&parts.headers, AUTHORIZATION.as_str()).split(' ').next().unwrap_or_default().to_lowercase();
    let attempted = match scheme.as_str() {
        "bearer" => "Authentication failed, attempted: bearer",
        "basic" => "Authentication failed, attempted: basic",
        _ => "Authentication failed, no credentials provided",
    };
    trail.refused(json!({"metadata": {}, "message": attempted, "code": status.code})).await;
    named(trail, status_response(status))
}

/// Records the answer.
pub(super) async fn answered(trail: Arc<Trail>, long: bool, response: Response) -> Response {
    let response = named(&trail, response);
    body::recorded(trail, long, response).await
}
