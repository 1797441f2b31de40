//! Bodies of requests: bounded, decompressed never, of a media type that the server reads; all become JSON or YAML.

use api::protobuf;
use api::transport::{DeleteOptions, Patch, Propagation};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use machinery::{Reason, Status, codec};
use serde_json::Value;

/// Reads a whole body of at most `limit` bytes; 413 beyond.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes, Status> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::new(
            413,
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit}"),
        )),
        Err(error) => Err(Status::bad_request(format!("unable to read the body: {error}"))),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn unsupported(accepted: &str) -> Status {
    Status::new(
        415,
        Reason::UnsupportedMediaType,
        format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        ),
    )
}

/// The media type of CBOR.
const CBOR: &str = "application/cbor";
/// The media type of an applied configuration in CBOR.
const APPLY_CBOR: &str = "application/apply-patch+cbor";

/// What the server reads of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable {
    /// Whether the kind has a protobuf form.
    pub(super) protobuf: bool,
    /// Whether CBOR is switched on.
    pub(super) cbor: bool,
}

/// The body must be of a type that the server reads; without a type it is JSON.
pub(super) fn check_object_type(headers: &HeaderMap, readable: Readable) -> Result<(), Status> {
    match media_type(headers) {
        "" | "application/json" | "application/yaml" => return Ok(()),
        protobuf::MEDIA_TYPE if readable.protobuf => return Ok(()),
        CBOR if readable.cbor => return Ok(()),
        _ => {}
    }
    let mut accepted = "application/json, application/yaml".to_owned();
    for (media, readable) in [(protobuf::MEDIA_TYPE, readable.protobuf), (CBOR, readable.cbor)] {
        if readable {
            accepted.push_str(", ");
            accepted.push_str(media);
        }
    }
    Err(unsupported(&accepted))
}

/// The body as JSON or YAML: protobuf and CBOR are turned into JSON.
pub(super) fn to_text(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Status> {
    let value = match media_type(headers) {
        _ if body.is_empty() => return Ok(body),
        protobuf::MEDIA_TYPE => protobuf::decode(&body).map_err(|error| Status::bad_request(error.0))?,
        CBOR | APPLY_CBOR => codec::cbor::decode(&body).map_err(|error| Status::bad_request(error.0))?,
        _ => return Ok(body),
    };
    serde_json::to_vec(&value).map(Bytes::from).map_err(Status::internal)
}

/// The patch that body and type make.
pub(super) fn patch(headers: &HeaderMap, body: Bytes, strategic: bool, cbor: bool) -> Result<Patch, Status> {
    match media_type(headers) {
        "application/json-patch+json" => return Ok(Patch::Json(body)),
        "application/merge-patch+json" => return Ok(Patch::Merge(body)),
        "application/strategic-merge-patch+json" if strategic => return Ok(Patch::Strategic(body)),
        "application/apply-patch+yaml" => return Ok(Patch::Apply(body)),
        APPLY_CBOR if cbor => return Ok(Patch::Apply(to_text(headers, body)?)),
        _ => {}
    }
    let strategic = if strategic { "application/strategic-merge-patch+json, " } else { "" };
    let cbor = if cbor { ", application/apply-patch+cbor" } else { "" };
    Err(unsupported(&format!(
        "application/json-patch+json, application/merge-patch+json, {strategic}application/apply-patch+yaml{cbor}"
    )))
}

/// The options of a deletion: those of the body where it has any, over those of the query.
pub(super) fn delete_options(query: DeleteOptions, body: &[u8]) -> Result<DeleteOptions, Status> {
    if body.is_empty() {
        return Ok(query);
    }
    let value = codec::decode_any(body)
        .map_err(|error| {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        })?
        .value;
    if !value.is_object() {
        return Err(Status::bad_request("DeleteOptions must be an object"));
    }
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        return Err(Status::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: {kind}"
        )));
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let propagation = match (
        text("/propagationPolicy"),
        value.get("orphanDependents").and_then(Value::as_bool),
    ) {
        (Some(_), Some(_)) => {
            return Err(Status::bad_request(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: orphanDependents and \
                 deletionPropagation cannot be both set",
            ));
        }
        (Some(policy), None) => Some(crate::request::parse_propagation(&policy)?),
        (None, Some(true)) => Some(Propagation::Orphan),
        (None, Some(false)) => Some(Propagation::Background),
        (None, None) => query.propagation,
    };
    let grace =
        match value.get("gracePeriodSeconds") {
            None | Some(Value::Null) => query.grace_period_seconds,
            Some(seconds) => Some(seconds.as_i64().ok_or_else(|| {
                Status::bad_request("DeleteOptions: gracePeriodSeconds must be an integer")
            })?),
        };
    let mut dry_run = query.dry_run;
    for item in value.get("dryRun").and_then(Value::as_array).into_iter().flatten() {
        if item.as_str() != Some("All") {
            return Err(Status::new(
                422,
                Reason::Invalid,
                format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: {item}: supported values: \"All\""
                ),
            ));
        }
        dry_run = true;
    }
    Ok(DeleteOptions {
        grace_period_seconds: grace,
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        propagation,
        dry_run,
    })
}
