//! What an answer says, for the record: its status, and at the highest level its object. A stream's end is told when
//! its body ends.

use super::Trail;
use api::protobuf;
use bytes::Bytes;
use component::serve::{BoxError, Response, full};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes of an unpacked answer that are recorded.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;
/// A Status has fewer bytes.
const MAX_STATUS: u64 = 64 * 1024;

/// Records how a request was answered; the answer to send.
pub(crate) async fn recorded(trail: Arc<Trail>, long: bool, response: Response) -> Response {
    let code = response.status().as_u16();
    if long && code < 400 {
        let status = json!({"metadata": {}, "code": code});
        trail.started(status).await;
        return response.map(|inner| Watched { inner, _trail: trail }.boxed_unsync());
    }
    let small = response.body().size_hint().exact().is_some_and(|size| size <= MAX_STATUS);
    if !trail.wants_response() && !small {
        trail.completed(json!({"metadata": {}, "code": code}), None).await;
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            tracing::warn!(%error, "an answer ended early; it is recorded without its object");
            trail.completed(json!({"metadata": {}, "code": code}), None).await;
            return Response::from_parts(parts, full(Bytes::new()));
        }
    };
    let value = value(&parts.headers, &bytes);
    let mut status = json!({"metadata": {}, "code": code});
    if let Some(fields) = value.as_ref().filter(|value| value["kind"] == "Status").and_then(Value::as_object)
    {
        status = status_of(fields, code);
    }
    let response = value.filter(|_| trail.wants_response());
    trail.completed(status, response).await;
    Response::from_parts(parts, full(bytes))
}

/// The bounded fields of a Status.
fn status_of(fields: &Map<String, Value>, code: u16) -> Value {
    let mut status = Map::new();
    status.insert("metadata".to_owned(), json!({}));
    for key in ["status", "message", "reason", "details"] {
        if let Some(value) = fields.get(key) {
            status.insert(key.to_owned(), value.clone());
        }
    }
    status.insert("code".to_owned(), json!(code));
    Value::Object(status)
}

/// The status of an answer that is at hand as an error.
pub(super) fn status(status: &machinery::Status) -> Value {
    let json = status.to_json();
    json.as_object().map_or(Value::Null, |fields| status_of(fields, status.code))
}

fn value(headers: &http::HeaderMap, bytes: &Bytes) -> Option<Value> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unpacked = match headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None => bytes.clone(),
        Some(b"gzip") => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(bytes.as_ref()).take(MAX_UNPACKED).read_to_end(&mut out).ok()?;
            out.into()
        }
        Some(_) => return None,
    };
    match kind.split(';').next().unwrap_or_default() {
        "application/json" => serde_json::from_slice(&unpacked).ok(),
        "application/yaml" => machinery::codec::decode_any(&unpacked).ok().map(|decoded| decoded.value),
        protobuf::MEDIA_TYPE => protobuf::decode(&unpacked).ok(),
        _ => None,
    }
}

/// The body of an answer that takes long: the record ends with it.
struct Watched {
    inner: component::serve::Body,
    _trail: Arc<Trail>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
