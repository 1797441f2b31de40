//! [`DynamicObject`]: an object of a custom resource, whose kind is known only at run time.

use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::{DecodeError, Object};
use machinery::GroupVersionKind;
use serde::Serialize;
use serde_json::{Map, Value};
use std::any::Any;
use std::sync::Arc;

/// Metadata, and everything else as a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicObject {
    gvk: GroupVersionKind,
    meta: ObjectMeta,
    /// Every field but `apiVersion`, `kind` and `metadata`.
    pub fields: Map<String, Value>,
}

impl DynamicObject {
    /// Takes a tree apart. The object becomes one of `gvk`, whatever it says itself.
    pub fn new(gvk: GroupVersionKind, mut fields: Map<String, Value>) -> Result<Self, DecodeError> {
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
        let meta = match fields.shift_remove("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(meta) => serde_json::from_value(meta)?,
        };
        Ok(Self { gvk, meta, fields })
    }

    /// The same object in another version of its kind.
    pub fn in_version(&self, gvk: GroupVersionKind) -> Self {
        Self { gvk, ..self.clone() }
    }

    /// Every field of it, `metadata` included.
    pub fn tree(&self) -> Value {
        let mut tree = Map::new();
        tree.insert("apiVersion".to_owned(), Value::String(self.gvk.api_version()));
        tree.insert("kind".to_owned(), Value::String(self.gvk.kind.to_string()));
        tree.insert("metadata".to_owned(), serde_json::to_value(&self.meta).unwrap_or_default());
        tree.extend(self.fields.clone());
        Value::Object(tree)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: String,
    kind: &'a str,
    metadata: &'a ObjectMeta,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

impl Object for DynamicObject {
    fn gvk(&self) -> GroupVersionKind {
        self.gvk.clone()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
    fn to_json(&self) -> Vec<u8> {
        let written = Written {
            api_version: self.gvk.api_version(),
            kind: &self.gvk.kind,
            metadata: &self.meta,
            fields: &self.fields,
        };
        // Writing to memory fails only for maps with keys that are not strings; there are none.
        serde_json::to_vec(&written).unwrap_or_default()
    }
    fn clone_object(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
    fn equals(&self, other: &dyn Object) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other == self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn into_any_arc(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// `object` as a dynamic one, if it is one.
pub(super) fn dynamic(object: &dyn Object) -> Option<&DynamicObject> {
    object.as_any().downcast_ref()
}

/// The same, to change.
pub(super) fn dynamic_mut(object: &mut dyn Object) -> Option<&mut DynamicObject> {
    object.as_any_mut().downcast_mut()
}
