//! Lists in protobuf and CBOR: item by item, so that memory does not grow with the list beyond a bound.
//!
//! A protobuf message says how long it is before it begins. So items are encoded once to know their lengths; a small
//! list is kept from that, a large one is encoded again as it is sent.

use super::compress::{self, Gzip};
use super::list;
use super::negotiate::{Form, Media};
use super::respond::{Answer, bytes_response};
use super::table;
use crate::cache::Page;
use api::{ResourceDef, StoredObject, protobuf};
use bytes::Bytes;
use component::serve::{BoxError, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::Status;
use machinery::codec::cbor;
use serde_json::Value;
use std::sync::Arc;

/// Encoded bytes of a list that are kept between counting and sending.
const KEEP: usize = 4 * 1024 * 1024;
/// Bytes gathered before they are handed to the connection.
const CHUNK: usize = 64 * 1024;

/// What one item becomes.
#[derive(Clone)]
struct Items {
    answer: Answer,
    def: Arc<ResourceDef>,
}

impl Items {
    fn tree(&self, object: &StoredObject) -> Result<Value, Status> {
        match self.answer.form {
            Form::Table(version) => {
                table::row(&self.def, object, self.answer.include, version, self.answer.now)
            }
            form => table::transform(&self.def, object, form, self.answer.include, false, self.answer.now),
        }
    }

    fn encode(&self, object: &StoredObject) -> Result<Vec<u8>, Status> {
        let value = self.tree(object)?;
        if self.answer.media == Media::Cbor {
            let mut out = Vec::new();
            cbor::item(&value, &mut out);
            return Ok(out);
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let body = protobuf::encode_body(text("apiVersion"), text("kind"), &value);
        Ok(protobuf::list_item(&body.map_err(Status::internal)?))
    }
}

/// Whether a list of this answer is sent by this module.
pub(super) fn applies(answer: &Answer) -> bool {
    match (answer.media, answer.form) {
        (Media::Cbor, _) | (Media::Protobuf, Form::Object) => true,
        // The older version numbers its fields the other way round; it is small and rare.
        (Media::Protobuf, Form::Partial(version) | Form::PartialList(version)) => version == "v1",
        _ => false,
    }
}

/// The response of a list.
pub(super) async fn list(answer: Answer, def: Arc<ResourceDef>, page: Page) -> Result<Response, Status> {
    let items = Items { answer, def };
    if page.items.len() < 100 {
        return build(&items, page);
    }
    // Encoding ten thousand pods takes longer than other requests on this thread can wait.
    tokio::task::spawn_blocking(move || build(&items, page)).await.map_err(Status::internal)?
}

/// The bytes before the items, those behind, and the kind for the envelope.
fn frame(items: &Items, page: &Page) -> Result<(Vec<u8>, String, String), Status> {
    let (kind, api_version) = match items.answer.form {
        Form::Object => (items.def.list_kind.to_string(), items.def.gvk.api_version()),
        Form::Table(version) => ("Table".to_owned(), format!("meta.k8s.io/{version}")),
        Form::Partial(version) | Form::PartialList(version) => {
            ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"))
        }
    };
    let metadata = list::metadata(page);
    if items.answer.media == Media::Protobuf {
        let head = protobuf::list_head(&metadata).map_err(Status::internal)?;
        return Ok((head, api_version, kind));
    }
    let mut head = Vec::new();
    let is_table = matches!(items.answer.form, Form::Table(_));
    cbor::map_head(if is_table { 5 } else { 4 }, &mut head);
    for (key, value) in [
        ("kind", Value::from(kind.as_str())),
        ("apiVersion", Value::from(api_version.as_str())),
        ("metadata", metadata),
    ] {
        cbor::string(key, &mut head);
        cbor::item(&value, &mut head);
    }
    if is_table {
        cbor::string("columnDefinitions", &mut head);
        cbor::item(&table::columns(&items.def), &mut head);
    }
    cbor::string(if is_table { "rows" } else { "items" }, &mut head);
    cbor::array_head(page.items.len(), &mut head);
    Ok((head, api_version, kind))
}

fn build(items: &Items, page: Page) -> Result<Response, Status> {
    let (mut head, api_version, kind) = frame(items, &page)?;
    let mut tail = Vec::new();
    let (mut kept, mut total) = (Vec::new(), head.len());
    let mut known = 0;
    for object in &page.items {
        if kept.len() > KEEP && items.answer.media == Media::Cbor {
            break;
        }
        let bytes = items.encode(object)?;
        total += bytes.len();
        if kept.len() <= KEEP {
            kept.extend_from_slice(&bytes);
            known += 1;
        }
    }
    if items.answer.media == Media::Protobuf {
        let mut envelope = protobuf::envelope_head(&api_version, &kind, total);
        envelope.append(&mut head);
        head = envelope;
        tail.extend_from_slice(protobuf::ENVELOPE_TAIL);
    }
    head.append(&mut kept);
    let rest = page.items[known..].to_vec();
    if rest.is_empty() {
        head.append(&mut tail);
        return Ok(items.answer.bytes(200, head));
    }
    Ok(stream(items.clone(), head, rest, tail))
}

/// Sends `head`, the items that are not in it yet, and `tail`.
fn stream(items: Items, head: Vec<u8>, rest: Vec<Arc<StoredObject>>, tail: Vec<u8>) -> Response {
    let media = items.answer.media;
    let compressed = items.answer.gzip;
    let mut gzip = compressed.then(Gzip::new);
    let (mut next, mut pending, mut tail) = (rest.into_iter(), Some(head), Some(tail));
    let mut plain = move || -> Option<Result<Vec<u8>, BoxError>> {
        if let Some(head) = pending.take() {
            return Some(Ok(head));
        }
        let mut out = Vec::new();
        for object in next.by_ref() {
            match items.encode(&object) {
                Ok(bytes) => out.extend_from_slice(&bytes),
                // It was encoded before; half a list must not look like a whole one.
                Err(status) => return Some(Err(status.message.into())),
            }
            if out.len() >= CHUNK {
                return Some(Ok(out));
            }
        }
        out.append(&mut tail.take()?);
        Some(Ok(out))
    };
    let frames = std::iter::from_fn(move || {
        let piece = match plain() {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Some(Err(error)),
            None => return gzip.take().map(|gzip| Ok(Frame::data(gzip.finish()))),
        };
        Some(Ok::<_, BoxError>(Frame::data(match &mut gzip {
            Some(gzip) => gzip.push(&piece),
            None => piece.into(),
        })))
    });
    let mut response = bytes_response(200, media.content_type(), Bytes::new());
    *response.body_mut() = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    compress::mark(&mut response, compressed);
    response
}
