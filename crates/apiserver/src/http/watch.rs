//! Responses of watches: a stream of events, encoded once for all watchers that want the same.

use super::negotiate::{Form, Media};
use super::respond::{Answer, bytes_response, encode, status_json};
use super::table;
use crate::cache::{Change, Deliveries, Delivery, Encoding};
use crate::registry::Registry;
use api::{ResourceDef, StoredObject, protobuf};
use bytes::Bytes;
use component::serve::{BoxError, Response};
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::Status;
use machinery::codec::cbor;
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

/// What is due, and its object in the version asked for where another program converts it.
type Due = (Delivery, Option<Result<Arc<StoredObject>, Status>>);

async fn convert(registry: Arc<Registry>, def: Arc<ResourceDef>, batch: Vec<Delivery>) -> Vec<Due> {
    let mut due = Vec::with_capacity(batch.len());
    for delivery in batch {
        let object = match &delivery {
            Delivery::Initial(object) => Some(object.clone()),
            Delivery::Change(change, event) => Some(event.object_for(*change)),
            Delivery::Bookmark { .. } => None,
        };
        let served = match object {
            Some(object) => Some(registry.served(&def, &object).await),
            None => None,
        };
        due.push((delivery, served));
    }
    due
}

/// The events of a watch, to be sent one way or the other. They end when the server stops.
pub(super) struct Events {
    encoder: Encoder,
    deliveries: BoxStream<'static, Vec<Due>>,
}

/// One name for each form that the bytes of an event can have.
fn format(media: Media, form: Form) -> &'static str {
    match (media, form) {
        (Media::Json | Media::Yaml, Form::Object) => "json",
        (Media::Json | Media::Yaml, Form::Partial("v1beta1") | Form::PartialList("v1beta1")) => {
            "json-partial-beta"
        }
        (Media::Json | Media::Yaml, Form::Partial(_) | Form::PartialList(_)) => "json-partial",
        (Media::Protobuf, Form::Object) => "protobuf",
        (Media::Protobuf, Form::Partial("v1beta1") | Form::PartialList("v1beta1")) => "protobuf-partial-beta",
        (Media::Protobuf, Form::Partial(_) | Form::PartialList(_)) => "protobuf-partial",
        (Media::Cbor, Form::Object) => "cbor",
        (Media::Cbor, Form::Partial("v1beta1") | Form::PartialList("v1beta1")) => "cbor-partial-beta",
        (Media::Cbor, Form::Partial(_) | Form::PartialList(_)) => "cbor-partial",
        // Never shared.
        (_, Form::Table(_)) => "table",
    }
}

impl Events {
    /// Takes `deliveries` until `stop` is cancelled.
    pub(super) fn new(
        registry: Arc<Registry>,
        def: Arc<ResourceDef>,
        answer: Answer,
        deliveries: Deliveries,
        stop: CancellationToken,
    ) -> Self {
        let encoding = Encoding { gvk: def.gvk.clone(), format: format(answer.media, answer.form) };
        let batches = deliveries.take_until(stop.cancelled_owned());
        let deliveries = if def.conversion.as_ref().is_some_and(|conversion| conversion.remote.is_some()) {
            let (of, kind) = (registry.clone(), def.clone());
            batches.then(move |batch| convert(of.clone(), kind.clone(), batch)).boxed()
        } else {
            let here = |batch: Vec<Delivery>| batch.into_iter().map(|delivery| (delivery, None)).collect();
            batches.map(here).boxed()
        };
        let encoder = Encoder { registry, def, answer, encoding, columns_sent: false };
        Self { encoder, deliveries }
    }

    /// The response of a watch over plain HTTP.
    pub(super) fn response(self) -> Response {
        let Events { mut encoder, deliveries } = self;
        let content_type = match encoder.answer.media {
            Media::Json | Media::Yaml => "application/json",
            Media::Protobuf => protobuf::STREAM_MEDIA_TYPE,
            Media::Cbor => "application/cbor-seq",
        };
        let stream = deliveries.map(move |batch| Ok::<_, BoxError>(Frame::data(encoder.batch(batch))));
        let mut response = bytes_response(200, content_type, Bytes::new());
        *response.body_mut() = StreamBody::new(stream).boxed_unsync();
        response
    }

    /// Whether events are text.
    pub(super) fn is_text(&self) -> bool {
        self.encoder.answer.media == Media::Json
    }

    /// The next events, one by one and without lengths; `None` when the watch is over.
    pub(super) async fn next(&mut self) -> Option<Vec<Bytes>> {
        let batch = self.deliveries.next().await?;
        let mut frames = Vec::with_capacity(batch.len());
        let has_length = self.encoder.answer.media == Media::Protobuf;
        self.encoder.each(batch, |bytes| frames.push(if has_length { bytes.slice(4..) } else { bytes }));
        Some(frames)
    }
}

/// An event around an object that is a tree.
fn frame(media: Media, kind: &str, object: &Value) -> Bytes {
    match media {
        Media::Json | Media::Yaml => format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into(),
        Media::Protobuf => {
            let bytes = encode(media, false, object).unwrap_or_else(|status| {
                // Statuses have a protobuf form.
                encode(media, false, &status_json(&status)).unwrap_or_default()
            });
            protobuf::watch_frame(kind, &bytes).into()
        }
        Media::Cbor => {
            let mut out = Vec::new();
            cbor::map_head(2, &mut out);
            cbor::string("type", &mut out);
            cbor::string(kind, &mut out);
            cbor::string("object", &mut out);
            cbor::encode(object, &mut out);
            out.into()
        }
    }
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
    /// Encodes what is due; an error ends the rest.
    fn each(&mut self, batch: Vec<Due>, mut sink: impl FnMut(Bytes)) {
        for (delivery, served) in batch {
            match self.delivery(delivery, served) {
                Ok(bytes) => sink(bytes),
                Err(status) => {
                    sink(frame(self.answer.media, "ERROR", &status_json(&status)));
                    break;
                }
            }
        }
    }

    /// One piece for all that is due. A single event is the very bytes that other watchers get.
    fn batch(&mut self, batch: Vec<Due>) -> Bytes {
        let (mut first, mut rest) = (Bytes::new(), Vec::new());
        self.each(batch, |bytes| {
            if first.is_empty() {
                first = bytes;
                return;
            }
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&bytes);
        });
        if rest.is_empty() { first } else { rest.into() }
    }

    fn delivery(
        &mut self,
        delivery: Delivery,
        served: Option<Result<Arc<StoredObject>, Status>>,
    ) -> Result<Bytes, Status> {
        let (registry, def) = (self.registry.clone(), self.def.clone());
        let served = |object: &Arc<StoredObject>| match served {
            Some(served) => served,
            None => registry.served_here(&def, object),
        };
        match delivery {
            Delivery::Initial(object) => {
                let object = served(&object)?;
                self.object(Change::Added, &object)
            }
            Delivery::Change(change, event) => match self.answer.form {
                // Ages in tables differ from watcher to watcher in time, so these are not shared.
                Form::Table(_) => {
                    let object = served(&event.object_for(change))?;
                    self.object(change, &object)
                }
                _ => event.encoded(change, &self.encoding, || {
                    let object = served(&event.object_for(change))?;
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
            return Ok(frame(self.answer.media, change.as_str(), &value));
        }
        self.shared(change, object)
    }

    /// An event that is the same for every watcher of this encoding.
    fn shared(&self, change: Change, object: &StoredObject) -> Result<Bytes, Status> {
        let form = self.answer.form;
        if self.answer.media != Media::Json {
            let value =
                table::transform(&self.def, object, form, self.answer.include, false, self.answer.now)?;
            return Ok(frame(self.answer.media, change.as_str(), &value));
        }
        match form {
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
        frame(self.answer.media, "BOOKMARK", &value)
    }
}
