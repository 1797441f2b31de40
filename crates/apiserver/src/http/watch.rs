//! Responses of watches: a stream of JSON events, encoded once for all watchers that want the same.

use super::negotiate::Form;
use super::respond::{Answer, bytes_response, status_json};
use super::table;
use crate::cache::{Change, Deliveries, Delivery, Encoding};
use crate::registry::Registry;
use api::{ResourceDef, StoredObject};
use bytes::Bytes;
use component::serve::{BoxError, Response};
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::Status;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Encoder {
    registry: Arc<Registry>,
    def: Arc<ResourceDef>,
    answer: Answer,
    encoding: Encoding,
    columns_sent: bool,
}

/// The response of a watch. Ends when `stop` is cancelled.
pub(super) fn response(
    registry: Arc<Registry>,
    def: Arc<ResourceDef>,
    answer: Answer,
    deliveries: Deliveries,
    stop: CancellationToken,
) -> Response {
    let format = match answer.form {
        Form::Object => "json",
        Form::Partial(_) | Form::PartialList(_) => "json-partial",
        Form::Table(_) => "json-table",
    };
    let encoding = Encoding { gvk: def.gvk.clone(), format };
    let mut encoder = Encoder { registry, def, answer, encoding, columns_sent: false };
    let stream = deliveries
        .take_until(stop.cancelled_owned())
        .map(move |batch| Ok::<_, BoxError>(Frame::data(encoder.batch(batch))));
    let mut response = bytes_response(200, "application/json", Bytes::new());
    *response.body_mut() = StreamBody::new(stream).boxed_unsync();
    response
}

fn frame(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

/// An event around the object that `write` appends.
fn written_frame(change: Change, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(change.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    write(&mut out);
    out.extend_from_slice(b"}\n");
    // It is kept as long as its event is.
    out.shrink_to_fit();
    out.into()
}

impl Encoder {
    /// One piece for all that is due. A single event is the very bytes that other watchers get.
    fn batch(&mut self, batch: Vec<Delivery>) -> Bytes {
        let (mut first, mut rest) = (Bytes::new(), Vec::new());
        for delivery in batch {
            let (bytes, is_over) = match self.delivery(delivery) {
                Ok(bytes) => (bytes, false),
                Err(status) => (frame("ERROR", &status_json(&status)), true),
            };
            if first.is_empty() {
                first = bytes;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&bytes);
            }
            if is_over {
                break;
            }
        }
        if rest.is_empty() { first } else { rest.into() }
    }

    fn delivery(&mut self, delivery: Delivery) -> Result<Bytes, Status> {
        match delivery {
            Delivery::Initial(object) => {
                let object = self.registry.served(&self.def, &object)?;
                self.object(Change::Added, &object)
            }
            Delivery::Change(change, event) => match self.answer.form {
                // Ages in tables differ from watcher to watcher in time, so these are not shared.
                Form::Table(_) => {
                    let object = self.registry.served(&self.def, &event.object_for(change))?;
                    self.object(change, &object)
                }
                _ => event.encoded(change, &self.encoding, || {
                    let object = self.registry.served(&self.def, &event.object_for(change))?;
                    self.shared(change, &object)
                }),
            },
            Delivery::Bookmark { revision, initial_done } => Ok(self.bookmark(revision, initial_done)),
        }
    }

    fn object(&mut self, change: Change, object: &StoredObject) -> Result<Bytes, Status> {
        if matches!(self.answer.form, Form::Table(_)) {
            let columns = !std::mem::replace(&mut self.columns_sent, true);
            let (form, include) = (self.answer.form, self.answer.include);
            let now = self.registry.now();
            let value = table::transform(&self.def, object, form, include, columns, now)?;
            return Ok(frame(change.as_str(), &value));
        }
        self.shared(change, object)
    }

    /// An event that is the same for every watcher of this encoding.
    fn shared(&self, change: Change, object: &StoredObject) -> Result<Bytes, Status> {
        match self.answer.form {
            Form::Object => Ok(written_frame(change, |out| object.write_json(out))),
            Form::Partial(version) | Form::PartialList(version) | Form::Table(version) => {
                Ok(written_frame(change, |out| table::write_partial(object, version, out)))
            }
        }
    }

    fn bookmark(&mut self, revision: i64, initial_done: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_done {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let value = match self.answer.form {
            Form::Table(version) => {
                let row = json!({"cells": [], "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": metadata,
                }});
                json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": null, "rows": [row]})
            }
            Form::Partial(version) | Form::PartialList(version) => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": metadata})
            }
            Form::Object => {
                json!({"kind": self.def.gvk.kind, "apiVersion": self.def.gvk.api_version(), "metadata": metadata})
            }
        };
        frame("BOOKMARK", &value)
    }
}
