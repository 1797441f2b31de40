//! `/openapi/v2`, `/openapi/v3` and its documents: the documents are `crate::openapi`, this is how they are asked
//! for.

use crate::http::text_response;
use crate::openapi::{Document, OpenApi};
use crate::registry::Registry;
use crate::request::Query;
use api::ResourceTable;
use component::serve::{Response, full};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use machinery::{Reason, Status};
use parking_lot::Mutex;
use std::sync::Arc;

/// The documents of the resources served now.
#[derive(Default)]
pub(super) struct Documents {
    json: Mutex<Option<(Arc<ResourceTable>, Arc<OpenApi>)>>,
    /// v2 in protobuf, of the document with this hash.
    proto: Mutex<Option<(String, Arc<Document>)>>,
}

const PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

impl Documents {
    fn current(&self, registry: &Registry) -> Arc<OpenApi> {
        let table = registry.resources();
        let mut known = self.json.lock();
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

    async fn proto(&self, documents: Arc<OpenApi>) -> Result<Arc<Document>, Status> {
        let json = blocking(move || documents.v2()).await?;
        if let Some((hash, known)) = self.proto.lock().as_ref()
            && *hash == json.hash
        {
            return Ok(known.clone());
        }
        let of = json.hash.clone();
        let document = blocking(move || -> Result<Document, serde_json::Error> {
            let bytes = super::openapi_proto::encode(&serde_json::from_slice(&json.json())?);
            Ok(Document { hash: format!("{}P", json.hash), gzip: crate::http::gzip(&bytes) })
        });
        let document = Arc::new(document.await?.map_err(Status::internal)?);
        *self.proto.lock() = Some((of, document.clone()));
        Ok(document)
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
        let headers = headers.clone();
        match path {
            ["v2"] => {
                if takes_proto(&headers) {
                    let document = self.proto(documents).await?;
                    let mut response = serve(&document, &headers, false);
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTO));
                    return Ok(response);
                }
                if !takes_json(&headers) {
                    return Err(Status::new(
                        406,
                        Reason::NotAcceptable,
                        "only the following media types are accepted: application/json",
                    ));
                }
                let document = blocking(move || documents.v2()).await?;
                Ok(serve(&document, &headers, false))
            }
            ["v3"] => {
                let document = blocking(move || documents.index()).await?;
                Ok(serve(&document, &headers, false))
            }
            ["v3", name @ ..] => {
                let name = name.join("/");
                let wanted = name.clone();
                let document = blocking(move || documents.v3(&wanted)).await?;
                let Some(document) = document else { return Err(Status::no_such_path()) };
                match query.get("hash") {
                    Some(hash) if hash != document.hash => Ok(moved(&name, &document.hash)),
                    hash => Ok(serve(&document, &headers, hash.is_some())),
                }
            }
            _ => Err(Status::no_such_path()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)
}

/// Whether protobuf is what the client wants first.
fn takes_proto(headers: &HeaderMap) -> bool {
    let value = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Older clients write an at sign before the version.
    value.split([',', ';']).next().unwrap_or_default().trim().replace('@', ".") == PROTO
}

fn takes_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    values.peek().is_none()
        || values.flat_map(|value| value.split(',')).any(|range| {
            matches!(
                range.split(';').next().unwrap_or_default().trim(),
                "*/*" | "application/*" | "application/json"
            )
        })
}

fn serve(document: &Document, headers: &HeaderMap, immutable: bool) -> Response {
    let tag = format!("\"{}\"", document.hash);
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| known.split(',').any(|candidate| candidate.trim() == tag));
    let gzip = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let gzip = gzip.flat_map(|value| value.split(',')).any(|range| range.trim().starts_with("gzip"));
    let mut response = match (known, gzip) {
        (true, _) => Response::new(full(bytes::Bytes::new())),
        (false, true) => Response::new(full(document.gzip.clone())),
        (false, false) => Response::new(full(document.json())),
    };
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    out.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip && !known {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if immutable {
        out.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
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
