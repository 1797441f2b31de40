//! [`StoredObject`]: one object as the store holds it, shared by every list, watch and consumer in the
//! process.
//!
//! The store's bytes carry no resource version, because it is known only after the commit. It is spliced in
//! when bytes leave the process, so an object is encoded once and its bytes are never copied to be changed.
//!
//! The decoded forms that are kept have no managed fields: as trees they take more memory than all the rest of an
//! object, and nobody but the registry, which decodes for itself, wants them.

use crate::object::{DecodeError, Kind, Object};
use crate::resource::Strategy;
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::codec::scan::value_end;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// An object and its revision. Immutable; cheap to share as `Arc<StoredObject>`.
#[derive(Debug)]
pub struct StoredObject {
    revision: i64,
    raw: Bytes,
    /// Offset just after `"metadata":{`, where the resource version goes.
    splice_at: usize,
    meta: OnceLock<Box<ObjectMeta>>,
    object: OnceLock<Arc<dyn Object>>,
}

const METADATA: &[u8] = b"\"metadata\":{";

impl StoredObject {
    /// Wraps canonical JSON without a resource version, as [`Object::to_json`] writes it, committed at
    /// `revision`. Fails when the bytes do not start with `apiVersion`, `kind` and `metadata`.
    pub fn new(revision: i64, raw: Bytes) -> Result<Self, DecodeError> {
        let head = &raw[..raw.len().min(1024)];
        let found = head.windows(METADATA.len()).position(|w| w == METADATA);
        let Some(at) = found else {
            return Err(DecodeError("object does not start with apiVersion, kind and metadata".to_owned()));
        };
        let splice_at = at + METADATA.len();
        Ok(Self { revision, raw, splice_at, meta: OnceLock::new(), object: OnceLock::new() })
    }

    /// Wraps an object that is about to be answered or was just received: its own resource version, if any,
    /// becomes the revision.
    pub fn from_object(mut object: Box<dyn Object>) -> Result<Self, DecodeError> {
        let revision = object.meta_mut().resource_version.take().and_then(|v| v.parse().ok()).unwrap_or(0);
        let stored = Self::new(revision, object.to_json().into())?;
        if revision > 0 {
            object.meta_mut().resource_version = Some(revision.to_string());
        }
        let _ = stored.object.set(Arc::from(object));
        Ok(stored)
    }

    /// The revision of its last change: its resource version. 0 when it was never stored.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The stored bytes, without a resource version.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Appends the object's JSON with its resource version.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let (head, middle, tail) = self.parts();
        out.reserve(head.len() + middle.len() + tail.len());
        out.extend_from_slice(&head);
        out.extend_from_slice(middle.as_bytes());
        out.extend_from_slice(&tail);
    }

    /// The object's JSON in three pieces that share the stored bytes: head, resource version, tail.
    pub fn parts(&self) -> (Bytes, String, Bytes) {
        let comma = if self.raw.get(self.splice_at) == Some(&b'}') { "" } else { "," };
        let middle = match self.revision {
            0 => String::new(),
            revision => format!("\"resourceVersion\":\"{revision}\"{comma}"),
        };
        (self.raw.slice(..self.splice_at), middle, self.raw.slice(self.splice_at..))
    }

    /// The object's JSON with its resource version.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }

    /// The JSON of its metadata, with its resource version.
    pub fn metadata_json(&self) -> Vec<u8> {
        let end = value_end(&self.raw, self.splice_at - 1);
        let (head, middle, _) = self.parts();
        let mut out = Vec::with_capacity(end - head.len() + middle.len() + 1);
        out.push(b'{');
        out.extend_from_slice(middle.as_bytes());
        out.extend_from_slice(&self.raw[self.splice_at..end]);
        out
    }

    /// Where `managedFields` stand in the stored bytes, with the comma behind them or else before them.
    fn managed_fields(&self) -> Option<Range<usize>> {
        let json = &self.raw[..];
        let mut at = self.splice_at;
        while json.get(at) == Some(&b'"') {
            let colon = at + json[at..].iter().position(|byte| *byte == b':')?;
            let end = value_end(json, colon + 1);
            let more = json.get(end) == Some(&b',');
            if &json[at..colon] == b"\"managedFields\"" {
                let start = if !more && at > self.splice_at { at - 1 } else { at };
                return Some(start..end + usize::from(more));
            }
            at = end + 1;
            if !more {
                return None;
            }
        }
        None
    }

    /// The stored bytes without managed fields.
    fn slim(&self) -> Cow<'_, [u8]> {
        match self.managed_fields() {
            Some(Range { start, end }) => Cow::Owned([&self.raw[..start], &self.raw[end..]].concat()),
            None => Cow::Borrowed(&self.raw),
        }
    }

    /// Its metadata, parsed at most once, without managed fields. Damaged metadata reads as empty.
    pub fn meta(&self) -> &ObjectMeta {
        if let Some(object) = self.object.get() {
            return object.meta();
        }
        self.meta.get_or_init(|| Box::new(self.parse_meta()))
    }

    /// The same for who looks at it once and then never again: what was parsed for that is not kept, as it takes half
    /// the memory of a small object.
    pub fn read_meta<T>(&self, read: impl FnOnce(&ObjectMeta) -> T) -> T {
        match (self.object.get(), self.meta.get()) {
            (Some(object), _) => read(object.meta()),
            (None, Some(meta)) => read(meta),
            (None, None) => read(&self.parse_meta()),
        }
    }

    fn parse_meta(&self) -> ObjectMeta {
        let slim = self.slim();
        let end = value_end(&slim, self.splice_at - 1);
        let mut meta: ObjectMeta = serde_json::from_slice(&slim[self.splice_at - 1..end]).unwrap_or_default();
        meta.resource_version = (self.revision > 0).then(|| self.revision.to_string());
        meta
    }

    /// The object with everything that is stored, decoded anew.
    pub fn decode(&self, strategy: &dyn Strategy) -> Result<Box<dyn Object>, DecodeError> {
        let mut object = strategy.decode(&self.raw)?;
        self.stamp(object.as_mut());
        Ok(object)
    }

    /// The typed object without managed fields, decoded at most once per process.
    pub fn get<K: Kind>(&self) -> Result<Arc<K>, DecodeError> {
        if let Some(shared) = self.object.get()
            && let Ok(typed) = shared.clone().into_any_arc().downcast::<K>()
        {
            return Ok(typed);
        }
        let mut typed = K::from_json(&self.slim())?;
        self.stamp(&mut typed);
        let typed = Arc::new(typed);
        let _ = self.object.set(typed.clone());
        Ok(typed)
    }

    /// The object without managed fields, decoded at most once per process by its resource's strategy.
    pub fn object(&self, strategy: &dyn Strategy) -> Result<Arc<dyn Object>, DecodeError> {
        if let Some(shared) = self.object.get() {
            return Ok(shared.clone());
        }
        let mut object = strategy.decode(&self.slim())?;
        self.stamp(object.as_mut());
        let shared: Arc<dyn Object> = Arc::from(object);
        let _ = self.object.set(shared.clone());
        Ok(shared)
    }

    fn stamp(&self, object: &mut dyn Object) {
        object.meta_mut().resource_version = (self.revision > 0).then(|| self.revision.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splices_the_resource_version() {
        let raw = Bytes::from_static(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#);
        let stored = StoredObject::new(7, raw).unwrap();
        assert_eq!(
            String::from_utf8(stored.to_json()).unwrap(),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"a"}}"#
        );
        assert_eq!(stored.read_meta(|meta| meta.name.clone()).as_deref(), Some("a"));
        assert!(stored.meta.get().is_none(), "what was looked at once is not kept");
        assert_eq!(stored.meta().resource_version.as_deref(), Some("7"));
        assert!(StoredObject::new(1, Bytes::from_static(b"{}")).is_err());
    }

    #[test]
    fn decoded_forms_have_no_managed_fields() {
        use k8s_openapi::api::core::v1::ConfigMap;
        let managed = r#""managedFields":[{"manager":"a\"]","fieldsV1":{"f:data":{}}}]"#;
        let rows = [
            (format!("{managed},\"name\":\"a\""), "\"name\":\"a\""),
            (format!("\"name\":\"a\",{managed}"), "\"name\":\"a\""),
            (
                format!("\"labels\":{{\"x\":\"y\"}},{managed},\"name\":\"a\""),
                "\"labels\":{\"x\":\"y\"},\"name\":\"a\"",
            ),
            ("\"name\":\"a\"".to_owned(), "\"name\":\"a\""),
            (managed.to_owned(), ""),
            (String::new(), ""),
        ];
        for (metadata, slim) in rows {
            let with = |metadata: &str| {
                format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{{metadata}}},"data":{{"k":"v"}}}}"#
                )
            };
            let stored = StoredObject::new(7, Bytes::from(with(&metadata))).unwrap();
            assert_eq!(String::from_utf8_lossy(&stored.slim()), with(slim));
            assert_eq!(stored.meta().managed_fields, None);
            let typed = stored.get::<ConfigMap>().unwrap();
            assert_eq!(typed.data.as_ref().and_then(|data| data.get("k")).map(String::as_str), Some("v"));
            assert_eq!(typed.metadata.managed_fields, None);
            let comma = if metadata.is_empty() { "" } else { "," };
            assert_eq!(
                String::from_utf8(stored.metadata_json()).unwrap(),
                format!(r#"{{"resourceVersion":"7"{comma}{metadata}}}"#)
            );
        }
    }
}
