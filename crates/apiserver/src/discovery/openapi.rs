//! `/openapi/v2`, `/openapi/v3` and its documents: the documents are `crate::openapi`, this is how they are asked
//! for.

use crate::aggregation::Aggregator;
use crate::http::{Accept, text_response};
use crate::openapi::{Document, Format, OpenApi};
use crate::registry::Registry;
use crate::request::Query;
use api::ResourceTable;
use component::serve::{Response, full};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION,
    VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use k8s_openapi::jiff::{Timestamp, ToSpan, fmt::rfc2822, tz::TimeZone};
use machinery::Status;
use parking_lot::Mutex;
use std::sync::Arc;

/// The documents of the resources served now.
#[derive(Default)]
pub(super) struct Documents(Mutex<Option<(Arc<ResourceTable>, Arc<OpenApi>)>>);

const JSON: &str = "application/json";
const V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// A document to be answered.
struct Found {
    document: Arc<Document>,
    media: &'static str,
    /// When to ask again, for an address that names the document's hash.
    expires: Option<String>,
}

impl Documents {
    fn current(&self, registry: &Registry) -> Arc<OpenApi> {
        let table = registry.resources();
        let mut known = self.0.lock();
        if let Some((of, documents)) = known.as_ref()
            && Arc::ptr_eq(of, &table)
        {
            return documents.clone();
        }
        let documents = OpenApi::new(table.clone(), registry.customs(), super::version::GIT_VERSION);
        let documents = Arc::new(documents);
        *known = Some((table, documents.clone()));
        documents
    }

    /// The v2 document. As JSON it has those of remote API servers in it.
    async fn v2(
        documents: Arc<OpenApi>,
        aggregator: &Arc<Aggregator>,
        format: Format,
    ) -> Result<Arc<Document>, Status> {
        let extra = aggregator.openapi().filter(|_| format == Format::Json);
        let Some(extra) = extra else { return blocking(move || documents.v2(format)).await };
        let aggregator = aggregator.clone();
        blocking(move || aggregator.merged_v2(&documents.v2(format), &extra)).await?
    }

    /// Answers one request below `/openapi`.
    pub(super) async fn answer(
        &self,
        registry: &Registry,
        path: &[&str],
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response, Status> {
        let documents = self.current(registry);
        let context = registry.context()?;
        let aggregator = &context.aggregator;
        let mut expires = None;
        let (document, media) = match path {
            ["v2"] => {
                let Some((format, media)) = negotiate(headers, V2) else { return Ok(not_acceptable()) };
                (Self::v2(documents, aggregator, format).await?, media)
            }
            ["v3"] => {
                let own = blocking(move || documents.index()).await?;
                let document = match aggregator.openapi() {
                    Some(extra) => Arc::new(extra.merged_index(&own)?),
                    None => own,
                };
                (document, JSON)
            }
            ["v3", name @ ..] => {
                let Some((format, media)) = negotiate(headers, V3) else { return Ok(not_acceptable()) };
                let name = name.join("/");
                let hash = query.get("hash").map(|hash| format!("hash={hash}")).unwrap_or_default();
                if let Some(remote) = aggregator.openapi_v3(context, &name, &hash).await {
                    let mut response = Response::new(full(remote?));
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
                    return Ok(response);
                }
                let wanted = name.clone();
                let found = blocking(move || documents.v3(&wanted, format)).await?;
                let Some(document) = found else { return Err(Status::no_such_path()) };
                match query.get("hash").filter(|hash| !hash.is_empty()) {
                    Some(hash) if hash != document.hash => return Ok(moved(&name, &document.hash)),
                    Some(_) => expires = in_a_year(registry.now()),
                    None => {}
                }
                (document, media)
            }
            _ => return Err(Status::no_such_path()),
        };
        Ok(serve(&Found { document, media, expires }, headers))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)
}

/// The most wanted form: JSON or `proto`, which older clients write with an at sign before its version.
fn negotiate(headers: &HeaderMap, proto: &'static str) -> Option<(Format, &'static str)> {
    Accept::ranges(headers).iter().find_map(|range| match range.media {
        "*/*" | "application/*" | JSON => Some((Format::Json, JSON)),
        other => (other.replace('@', ".") == proto).then_some((Format::Proto, proto)),
    })
}

fn not_acceptable() -> Response {
    let mut response = Response::new(full(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// A year from `now`, as headers have it; `None` beyond the end of the calendar.
fn in_a_year(now: Timestamp) -> Option<String> {
    let then = now.to_zoned(TimeZone::UTC).checked_add(1.year()).ok()?;
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then.timestamp()).ok()
}

fn serve(found: &Found, headers: &HeaderMap) -> Response {
    let document = &found.document;
    let tag = format!("\"{}\"", document.hash);
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| {
        known.split(',').any(|candidate| {
            matches!(candidate.trim(), "*") || candidate.trim().trim_start_matches("W/") == tag
        })
    });
    let gzip = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let gzip = gzip.flat_map(|value| value.split(',')).any(|range| range.trim().starts_with("gzip"));
    let mut response = match (known, gzip) {
        (true, _) => Response::new(full(bytes::Bytes::new())),
        (false, true) => Response::new(full(document.gzip.clone())),
        (false, false) => Response::new(full(document.plain())),
    };
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(found.media));
    out.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip && !known {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(expires) = &found.expires {
        out.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Ok(expires) = HeaderValue::try_from(expires) {
            out.insert(EXPIRES, expires);
        }
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        out.insert(ETAG, tag);
    }
    response
}

fn moved(name: &str, hash: &str) -> Response {
    let mut response = text_response(301, "");
    if let Ok(location) = HeaderValue::try_from(format!("/openapi/v3/{name}?hash={hash}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ACCEPT;

    #[test]
    fn the_most_wanted_form_is_found() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            negotiate(&headers, V2)
        };
        assert_eq!(negotiate(&HeaderMap::new(), V2), Some((Format::Json, JSON)));
        assert_eq!(
            of("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"),
            Some((Format::Proto, V2))
        );
        assert_eq!(of("text/plain;q=0.9, */*;q=0.1"), Some((Format::Json, JSON)));
        assert_eq!(
            of("application/json;q=0.5, application/com.github.proto-openapi.spec.v2.v1.0+protobuf"),
            Some((Format::Proto, V2))
        );
        assert_eq!(of("application/com.github.proto-openapi.spec.v3.v1.0+protobuf"), None);
        assert_eq!(of("text/html"), None);
    }

    #[test]
    fn hashed_addresses_hold_for_a_year() {
        assert_eq!(
            in_a_year("2025-11-20T18:00:00Z".parse().unwrap()).as_deref(),
            Some("Fri, 20 Nov 2026 18:00:00 GMT")
        );
    }
}
