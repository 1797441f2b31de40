//! Responses of lists: streamed from shared bytes, so that memory does not grow with the list.

use super::compress::{self, Gzip};
use super::negotiate::{Form, Media};
use super::respond::{Answer, bytes_response};
use super::table;
use crate::cache::{Page, Walk};
use api::{ResourceDef, StoredObject};
use bytes::Bytes;
use component::serve::{BoxError, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::{GroupVersionKind, Status};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Bytes gathered before they are handed to the connection.
const CHUNK: usize = 64 * 1024;

pub(super) fn metadata(page: &Page) -> Value {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), json!(page.revision.to_string()));
    if let Some(token) = &page.continue_token {
        metadata.insert("continue".to_owned(), json!(token));
        if let Some(remaining) = page.remaining {
            metadata.insert("remainingItemCount".to_owned(), json!(remaining));
        }
    }
    Value::Object(metadata)
}

/// Writes one item of a list.
type Item = Box<dyn Fn(&StoredObject, &mut Vec<u8>) + Send>;

/// Whether lists are written object by object; all others need the whole list at once.
pub(super) fn streams(answer: &Answer) -> bool {
    answer.media == Media::Json && !answer.pretty
}

/// The response of a list.
pub(super) fn response(answer: &Answer, def: &Arc<ResourceDef>, page: Page) -> Response {
    let gvk = GroupVersionKind { kind: def.list_kind.clone(), ..def.gvk.clone() };
    if !streams(answer) {
        return match tree(answer, def, &gvk, &page) {
            Ok(value) => answer.value(200, &value),
            Err(status) => answer.status(&status),
        };
    }
    let head = |kind: &str, api_version: &str, more: &str, items: &str| {
        format!(
            "{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{}{more},\"{items}\":[",
            metadata(&page)
        )
    };
    let (head, item): (String, Item) = match answer.form {
        Form::Object => (
            head(&gvk.kind, &gvk.api_version(), "", "items"),
            Box::new(|object: &StoredObject, out: &mut Vec<u8>| object.write_json(out)),
        ),
        Form::Table(version) => {
            let columns = format!(",\"columnDefinitions\":{}", table::columns(def));
            let (def, include, now) = (def.clone(), answer.include, answer.now);
            let item = move |object: &StoredObject, out: &mut Vec<u8>| {
                let row = table::row(&def, object, include, version, now);
                write_value(out, &row.unwrap_or_else(|status| json!({"cells": [status.message]})));
            };
            (head("Table", &format!("meta.k8s.io/{version}"), &columns, "rows"), Box::new(item))
        }
        Form::Partial(version) | Form::PartialList(version) => {
            let item = move |object: &StoredObject, out: &mut Vec<u8>| {
                table::write_partial(object, version, out);
            };
            (
                head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), "", "items"),
                Box::new(item),
            )
        }
    };
    stream(answer, head.into_bytes(), page, item)
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, value);
}

struct Pieces {
    out: Vec<u8>,
    items: std::vec::IntoIter<Arc<StoredObject>>,
    walk: Option<Walk>,
    first: bool,
    done: bool,
    item: Item,
    gzip: Option<Gzip>,
}

impl Pieces {
    /// The next object of the list.
    fn object(&mut self) -> Option<Arc<StoredObject>> {
        if let Some(object) = self.items.next() {
            return Some(object);
        }
        self.items = self.walk.as_mut()?.step().into_iter();
        self.items.next()
    }

    /// The next piece of plain bytes.
    fn plain(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        while self.out.len() < CHUNK {
            let Some(object) = self.object() else {
                self.done = true;
                self.out.extend_from_slice(b"]}\n");
                break;
            };
            if !std::mem::take(&mut self.first) {
                self.out.push(b',');
            }
            (self.item)(&object, &mut self.out);
        }
        Some(std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK)))
    }

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(plain) = self.plain() else { return self.gzip.take().map(Gzip::finish) };
            let Some(gzip) = &mut self.gzip else { return Some(plain.into()) };
            let piece = gzip.push(&plain);
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }
}

fn stream(answer: &Answer, head: Vec<u8>, page: Page, item: Item) -> Response {
    let Page { items, walk, .. } = page;
    // What there is to walk through comes after more than any threshold.
    let size: usize = items.iter().map(|object| object.raw().len()).sum();
    let compressed = answer.gzip && size > compress::THRESHOLD;
    let gzip = compressed.then(Gzip::new);
    let mut pieces =
        Pieces { out: head, items: items.into_iter(), walk, first: true, done: false, item, gzip };
    if size < CHUNK && !compressed {
        // What is written may be larger than what is stored: rows, resource versions.
        let mut whole = Vec::with_capacity(CHUNK);
        while let Some(piece) = pieces.plain() {
            whole.extend_from_slice(&piece);
        }
        return bytes_response(200, answer.media.content_type(), whole);
    }
    let frame = move || pieces.next().map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    let stream = futures::stream::iter(std::iter::from_fn(frame));
    let mut response = bytes_response(200, answer.media.content_type(), Bytes::new());
    *response.body_mut() = StreamBody::new(stream).boxed_unsync();
    compress::mark(&mut response, compressed);
    response
}

/// The list as a tree, for encodings that cannot be streamed.
fn tree(answer: &Answer, def: &ResourceDef, gvk: &GroupVersionKind, page: &Page) -> Result<Value, Status> {
    let partial = |version| -> Result<Vec<Value>, Status> {
        page.items.iter().map(|object| table::partial(object, version)).collect()
    };
    let (kind, api_version, key, items): (_, _, _, Vec<Value>) = match answer.form {
        Form::Object => {
            let items = page.items.iter().map(|object| serde_json::from_slice(&object.to_json()));
            let items = items.collect::<Result<_, _>>().map_err(Status::internal)?;
            (gvk.kind.as_ref(), gvk.api_version(), "items", items)
        }
        Form::Table(version) => {
            let rows = page.items.iter().map(|o| table::row(def, o, answer.include, version, answer.now));
            ("Table", format!("meta.k8s.io/{version}"), "rows", rows.collect::<Result<_, _>>()?)
        }
        Form::Partial(version) | Form::PartialList(version) => {
            ("PartialObjectMetadataList", format!("meta.k8s.io/{version}"), "items", partial(version)?)
        }
    };
    let mut list = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata(page)});
    if matches!(answer.form, Form::Table(_)) {
        list["columnDefinitions"] = table::columns(def);
    }
    list[key] = Value::Array(items);
    Ok(list)
}

/// A list of objects that were computed or deleted, not read from a page.
pub(super) fn plain(answer: &Answer, def: &Arc<ResourceDef>, items: Vec<Arc<StoredObject>>) -> Response {
    if items.is_empty() && answer.form == Form::Object {
        let gvk = GroupVersionKind { kind: def.list_kind.clone(), ..def.gvk.clone() };
        let empty = json!({"kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": {}, "items": []});
        return answer.value(200, &empty);
    }
    let revision = items.iter().map(|object| object.revision()).max().unwrap_or(0);
    response(answer, def, Page { revision, items, ..Page::default() })
}
