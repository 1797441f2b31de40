//! Bytes of the API as shared objects. An object's resource version leaves its bytes and becomes its revision, and
//! `apiVersion`, `kind` and `metadata` come first, because that is how [`StoredObject`] holds it.

use ::http::Response;
use api::StoredObject;
use api::transport::{ObjectList, WatchEvent};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use machinery::{Reason, Status};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Largest event of a watch. Objects are at most 1.5 MiB in etcd; JSON of binary data is a third larger.
const MAX_EVENT: usize = 16 << 20;
/// Largest error answer that is read.
const MAX_FAILURE: usize = 1 << 20;

/// The fields of a JSON object in their order, values unparsed.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Reader)
    }
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.get())
    }
}

fn undecodable(error: &dyn fmt::Display) -> Status {
    Status::internal(format!("failed to decode the API server's answer: {error}"))
}

/// `apiVersion` and `kind` that items of a list leave out, as JSON strings.
#[derive(Clone, Default)]
struct TypeHint {
    api_version: String,
    kind: String,
}

fn object_of(json: &str, hint: &TypeHint) -> Result<StoredObject, Status> {
    let fields: Fields<'_> = serde_json::from_str(json).map_err(|error| undecodable(&error))?;
    let meta: Fields<'_> = match fields.get("metadata") {
        Some(meta) => serde_json::from_str(meta).map_err(|error| undecodable(&error))?,
        None => Fields(Vec::new()),
    };
    let version = meta.get("resourceVersion").map(|text| text.trim_matches('"'));
    let revision = version.and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut out = String::with_capacity(json.len());
    let api_version = fields.get("apiVersion").unwrap_or(&hint.api_version);
    let kind = fields.get("kind").unwrap_or(&hint.kind);
    out.push_str("{\"apiVersion\":");
    out.push_str(if api_version.is_empty() { "\"\"" } else { api_version });
    out.push_str(",\"kind\":");
    out.push_str(if kind.is_empty() { "\"\"" } else { kind });
    out.push_str(",\"metadata\":{");
    append(&mut out, &meta, &["resourceVersion"]);
    out.push('}');
    if fields.0.iter().any(|(name, _)| !HEAD.contains(&&**name)) {
        out.push(',');
        append(&mut out, &fields, &HEAD);
    }
    out.push('}');
    StoredObject::new(revision, out.into()).map_err(|error| undecodable(&error))
}

const HEAD: [&str; 3] = ["apiVersion", "kind", "metadata"];

fn append(out: &mut String, fields: &Fields<'_>, except: &[&str]) {
    let kept = fields.0.iter().filter(|(name, _)| !except.contains(&&**name));
    for (at, (name, value)) in kept.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::from(&**name).to_string());
        out.push(':');
        out.push_str(value.get());
    }
}

fn text(bytes: &[u8]) -> Result<&str, Status> {
    std::str::from_utf8(bytes).map_err(|error| undecodable(&error))
}

/// One object.
pub(super) fn object(bytes: &[u8]) -> Result<Arc<StoredObject>, Status> {
    object_of(text(bytes)?, &TypeHint::default()).map(Arc::new)
}

/// A list.
pub(super) fn list(bytes: &[u8]) -> Result<ObjectList, Status> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
        #[serde(default)]
        metadata: ListMeta,
        #[serde(borrow)]
        items: Option<Vec<&'a RawValue>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct ListMeta {
        resource_version: Option<String>,
        r#continue: Option<String>,
        remaining_item_count: Option<u64>,
    }
    let list: List<'_> = serde_json::from_slice(bytes).map_err(|error| undecodable(&error))?;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let hint = TypeHint {
        api_version: quoted(&list.api_version),
        kind: quoted(list.kind.strip_suffix("List").unwrap_or(&list.kind)),
    };
    let items = list.items.unwrap_or_default();
    Ok(ObjectList {
        revision: list.metadata.resource_version.and_then(|v| v.parse().ok()).unwrap_or(0),
        items: items
            .iter()
            .map(|item| object_of(item.get(), &hint).map(Arc::new))
            .collect::<Result<_, _>>()?,
        continue_token: list.metadata.r#continue.filter(|token| !token.is_empty()),
        remaining: list.metadata.remaining_item_count,
    })
}

/// The error that a failed response describes, whatever its body is.
pub(super) async fn failure(response: Response<Incoming>) -> Status {
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_FAILURE).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Ok(status) = serde_json::from_slice::<Status>(&body)
        && status.code != 0
    {
        return status;
    }
    let said: String = String::from_utf8_lossy(&body).trim().chars().take(1024).collect();
    let said = if said.is_empty() { code.canonical_reason().unwrap_or("unknown").to_owned() } else { said };
    let reason = match code.as_u16() {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        405 => Reason::MethodNotAllowed,
        409 => Reason::Conflict,
        410 => Reason::Gone,
        429 => Reason::TooManyRequests,
        500 => Reason::InternalError,
        503 => Reason::ServiceUnavailable,
        504 => Reason::Timeout,
        _ => Reason::Unknown,
    };
    Status::new(code.as_u16(), reason, said)
}

fn event(line: &[u8]) -> Result<WatchEvent, Status> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        r#type: Cow<'a, str>,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(|error| undecodable(&error))?;
    let object = || object_of(frame.object.get(), &TypeHint::default()).map(Arc::new);
    match &*frame.r#type {
        "ADDED" => Ok(WatchEvent::Added(object()?)),
        "MODIFIED" => Ok(WatchEvent::Modified(object()?)),
        "DELETED" => Ok(WatchEvent::Deleted(object()?)),
        "BOOKMARK" => {
            let object = object()?;
            let annotations = object.meta().annotations.as_ref();
            let ends = annotations.and_then(|all| all.get("k8s.io/initial-events-end"));
            Ok(WatchEvent::Bookmark {
                revision: object.revision(),
                initial_done: ends.is_some_and(|value| value == "true"),
            })
        }
        "ERROR" => Err(serde_json::from_str(frame.object.get()).unwrap_or_else(|error| undecodable(&error))),
        other => Err(undecodable(&format!("unknown watch event type {other:?}"))),
    }
}

/// The events of a watch: one JSON document per line, each of bounded size.
pub(super) fn events(body: Incoming) -> impl Stream<Item = Result<WatchEvent, Status>> + Send {
    struct Reading {
        body: Incoming,
        buffer: BytesMut,
        /// How much of the buffer holds no line end.
        scanned: usize,
        ended: bool,
    }
    let reading = Reading { body, buffer: BytesMut::new(), scanned: 0, ended: false };
    futures::stream::unfold(reading, |mut reading| async move {
        loop {
            if reading.ended {
                return None;
            }
            if let Some(at) = reading.buffer[reading.scanned..].iter().position(|byte| *byte == b'\n') {
                let line: Bytes = reading.buffer.split_to(reading.scanned + at + 1).freeze();
                reading.scanned = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let event = event(&line);
                reading.ended = event.is_err();
                return Some((event, reading));
            }
            reading.scanned = reading.buffer.len();
            if reading.buffer.len() > MAX_EVENT {
                reading.ended = true;
                return Some((Err(undecodable(&"a watch event is larger than 16 MiB")), reading));
            }
            match reading.body.frame().await {
                None => return None,
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        reading.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => {
                    reading.ended = true;
                    let broken = Status::unavailable(format!("the watch broke: {error}; watch again"));
                    return Some((Err(broken), reading));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_list_get_their_type_and_lose_their_version() {
        let json = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"x"},
            "items":[{"spec":{"a":1},"metadata":{"name":"p","resourceVersion":"7"}}]}"#;
        let list = list(json).unwrap();
        assert_eq!((list.revision, list.continue_token.as_deref()), (9, Some("x")));
        assert_eq!(list.items[0].revision(), 7);
        assert_eq!(
            &list.items[0].raw()[..],
            br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"a":1}}"#
        );
    }

    #[test]
    fn events_of_every_type() {
        let added = event(
            br#"{"type":"ADDED","object":{"kind":"A","apiVersion":"v1","metadata":{"resourceVersion":"3"}}}"#,
        );
        assert!(matches!(added, Ok(WatchEvent::Added(object)) if object.revision() == 3));
        let end = event(
            br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        );
        assert!(matches!(end, Ok(WatchEvent::Bookmark { revision: 5, initial_done: true })));
        let expired =
            event(br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#);
        assert!(matches!(expired, Err(status) if status.is_expired()));
        assert!(event(b"{}").is_err());
    }
}
