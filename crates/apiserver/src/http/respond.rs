//! Responses: one object, a Status, or text.

use super::negotiate::{Form, Media, Offer, negotiate};
use super::table::{self, Include};
use super::{compress, pretty};
use crate::request::RequestInfo;
use api::{ResourceDef, StoredObject, protobuf};
use bytes::Bytes;
use component::serve::{Response, full};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use k8s_openapi::jiff::Timestamp;
use machinery::{Reason, Status, codec};
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
        encode(self.media, self.pretty, value)
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

/// Encodes a tree. 406 for what has no protobuf form.
pub(super) fn encode(media: Media, pretty: bool, value: &Value) -> Result<Vec<u8>, Status> {
    match media {
        Media::Yaml => codec::yaml::print(value).map(String::into_bytes).map_err(Status::internal),
        Media::Json if pretty => {
            let mut out = Vec::new();
            let format = serde_json::ser::PrettyFormatter::with_indent(b"  ");
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
            serde::Serialize::serialize(value, &mut serializer).map_err(Status::internal)?;
            Ok(out)
        }
        Media::Json => serde_json::to_vec(value).map_err(Status::internal),
        Media::Protobuf => {
            protobuf::encode(value).map_err(|error| Status::new(406, Reason::NotAcceptable, error.0))
        }
        Media::Cbor => {
            let mut out = Vec::new();
            codec::cbor::encode(value, &mut out);
            Ok(out)
        }
    }
}

/// What it takes to answer a request with an error in the form that the client wants.
pub(super) struct ErrorForm {
    headers: HeaderMap,
    cbor: bool,
}

impl ErrorForm {
    /// Remembers what `headers` say about it.
    pub(super) fn of(headers: &HeaderMap, cbor: bool) -> Self {
        let wanted = [ACCEPT, USER_AGENT];
        let kept = wanted.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
        Self { headers: kept.collect(), cbor }
    }

    /// The answer; JSON where nothing else fits, for a client's mistake must not hide behind another one.
    pub(super) fn response(&self, info: &RequestInfo, status: &Status) -> Response {
        let Ok((media, _)) = negotiate(&self.headers, Offer::of_errors(self.cbor)) else {
            return status_response(status);
        };
        let pretty = media == Media::Json && pretty::wanted(&info.query, &self.headers);
        let Ok(bytes) = encode(media, pretty, &status_json(status)) else { return status_response(status) };
        let mut response = bytes_response(status.code, media.content_type(), bytes);
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
