//! Responses: one object, a Status, or text.

use super::compress;
use super::negotiate::{Form, Media};
use super::table::{self, Include};
use api::{ResourceDef, StoredObject};
use bytes::Bytes;
use component::serve::{Response, full};
use http::HeaderValue;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use k8s_openapi::jiff::Timestamp;
use machinery::{Status, codec};
use serde_json::Value;

/// How the client wants its answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Encoding.
    pub(crate) media: Media,
    /// Form of objects.
    pub(crate) form: Form,
    /// Whether JSON is indented.
    pub(crate) pretty: bool,
    /// Whether the client takes gzip.
    pub(crate) gzip: bool,
    /// What rows of tables carry.
    pub(super) include: Include,
    /// For ages in tables.
    pub(crate) now: Timestamp,
}

impl Answer {
    /// Encodes a tree.
    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u8>, Status> {
        match self.media {
            Media::Yaml => codec::yaml::print(value).map(String::into_bytes).map_err(Status::internal),
            Media::Json if self.pretty => {
                let mut out = Vec::new();
                let format = serde_json::ser::PrettyFormatter::with_indent(b"  ");
                let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
                serde::Serialize::serialize(value, &mut serializer).map_err(Status::internal)?;
                Ok(out)
            }
            Media::Json => serde_json::to_vec(value).map_err(Status::internal),
        }
    }

    /// A response of bytes in this encoding.
    pub(crate) fn bytes(&self, code: u16, bytes: Vec<u8>) -> Response {
        let (bytes, encoding) = compress::whole(bytes, self.gzip);
        let mut response = bytes_response(code, self.media.content_type(), bytes);
        compress::mark(&mut response, encoding);
        response
    }

    /// A response of a tree.
    pub(crate) fn value(&self, code: u16, value: &Value) -> Response {
        match self.encode(value) {
            Ok(bytes) => self.bytes(code, bytes),
            Err(status) => status_response(&status),
        }
    }

    /// A response of one object.
    pub(crate) fn object(&self, code: u16, def: &ResourceDef, object: &StoredObject) -> Response {
        if self.form == Form::Object && self.media == Media::Json && !self.pretty {
            return self.bytes(code, object.to_json());
        }
        match table::transform(def, object, self.form, self.include, true, self.now) {
            Ok(value) => self.value(code, &value),
            Err(status) => self.status(&status),
        }
    }

    /// A response of an object of whatever kind.
    pub(crate) fn raw(&self, code: u16, object: &StoredObject) -> Response {
        if self.media == Media::Json && !self.pretty {
            return self.bytes(code, object.to_json());
        }
        match serde_json::from_slice(&object.to_json()) {
            Ok(value) => self.value(code, &value),
            Err(error) => self.status(&Status::internal(error)),
        }
    }

    /// A response of a Status; always as it is.
    pub(crate) fn status(&self, status: &Status) -> Response {
        let mut response = self.value(status.code, &status_json(status));
        retry_after(&mut response, status);
        response
    }
}

/// The Status object, with the continue token of an expired list in its place.
pub(super) fn status_json(status: &Status) -> Value {
    let mut status = status.clone();
    let mut token = None;
    if let Some(details) = &mut status.details
        && let Some(at) = details.causes.iter().position(|c| c.reason == crate::cache::CONTINUE_CAUSE)
    {
        token = Some(details.causes.remove(at).message);
        status.details = None;
    }
    let mut json = status.to_json();
    if let Some(token) = token {
        json["metadata"]["continue"] = Value::String(token);
    }
    json
}

fn retry_after(response: &mut Response, status: &Status) {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.unsigned_abs()));
    }
}

/// A response of known bytes.
pub(super) fn bytes_response(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON response.
pub(crate) fn json_response(code: u16, value: &Value) -> Response {
    bytes_response(code, "application/json", value.to_string())
}

/// A plain text response.
pub(crate) fn text_response(code: u16, text: impl Into<Bytes>) -> Response {
    let mut response = bytes_response(code, "text/plain; charset=utf-8", text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// A Status response in JSON, for failures before the encoding is known.
pub(crate) fn status_response(status: &Status) -> Response {
    let mut response = json_response(status.code, &status_json(status));
    retry_after(&mut response, status);
    response
}
