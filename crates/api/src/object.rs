//! [`Object`], the type-erased API object, and [`Kind`], its statically typed side.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::GroupVersionKind;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Bytes are not an object of the expected kind; the message names line, column and expectation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Any API object, built-in or custom, without its static type.
pub trait Object: Any + Send + Sync + fmt::Debug {
    /// What `apiVersion` and `kind` say.
    fn gvk(&self) -> GroupVersionKind;
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// Canonical JSON: `apiVersion`, `kind`, `metadata` first, in this order, no white space.
    fn to_json(&self) -> Vec<u8>;
    /// A deep copy.
    fn clone_object(&self) -> Box<dyn Object>;
    /// Whether `other` has the same type and equal contents.
    fn equals(&self, other: &dyn Object) -> bool;
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// For downcasts.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// For downcasts of shared objects.
    fn into_any_arc(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl dyn Object {
    /// This object as a `K`, if it is one.
    pub fn downcast_ref<K: Kind>(&self) -> Option<&K> {
        self.as_any().downcast_ref()
    }

    /// This object as a `K` to change, if it is one.
    pub fn downcast_mut<K: Kind>(&mut self) -> Option<&mut K> {
        self.as_any_mut().downcast_mut()
    }
}

/// A statically known kind. Implemented by [`kind!`](crate::kind) in this crate alone, so that serde is
/// instantiated once per type.
pub trait Kind: Object + Clone + Default + PartialEq {
    /// API group, empty for core.
    const GROUP: &'static str;
    /// API version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural resource name, the path segment.
    const PLURAL: &'static str;
    /// Whether objects live in namespaces.
    const NAMESPACED: bool;

    /// Parses JSON. Unknown fields are dropped; `apiVersion` and `kind` must be this kind's.
    fn from_json(json: &[u8]) -> Result<Self, DecodeError>;
}

/// Maps k8s-openapi's scope types to a flag.
pub trait Scope {
    /// Whether objects live in namespaces.
    const NAMESPACED: bool;
}

impl Scope for k8s_openapi::NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl Scope for k8s_openapi::ClusterResourceScope {
    const NAMESPACED: bool = false;
}

impl Scope for k8s_openapi::SubResourceScope {
    const NAMESPACED: bool = true;
}

/// Implements [`Object`] and [`Kind`] for types of k8s-openapi.
#[macro_export]
macro_rules! kind {
    ($($ty:ty),+ $(,)?) => { $(
        impl $crate::Object for $ty {
            fn gvk(&self) -> machinery::GroupVersionKind {
                machinery::GroupVersionKind::new(
                    <$ty as $crate::Kind>::GROUP,
                    <$ty as $crate::Kind>::VERSION,
                    <$ty as $crate::Kind>::KIND,
                )
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
            fn to_json(&self) -> Vec<u8> {
                // Writing to memory fails only for maps with keys that are not strings; the API has none.
                machinery::codec::scan::metadata_first(serde_json::to_vec(self).unwrap_or_default())
            }
            fn clone_object(&self) -> Box<dyn $crate::Object> {
                Box::new(self.clone())
            }
            fn equals(&self, other: &dyn $crate::Object) -> bool {
                other.as_any().downcast_ref::<Self>().is_some_and(|other| other == self)
            }
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }
            fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
                self
            }
            fn into_any_arc(self: std::sync::Arc<Self>) -> std::sync::Arc<dyn std::any::Any + Send + Sync> {
                self
            }
        }
        impl $crate::Kind for $ty {
            const GROUP: &'static str = <$ty as k8s_openapi::Resource>::GROUP;
            const VERSION: &'static str = <$ty as k8s_openapi::Resource>::VERSION;
            const KIND: &'static str = <$ty as k8s_openapi::Resource>::KIND;
            const PLURAL: &'static str = <$ty as k8s_openapi::Resource>::URL_PATH_SEGMENT;
            const NAMESPACED: bool =
                <<$ty as k8s_openapi::Resource>::Scope as $crate::object::Scope>::NAMESPACED;
            fn from_json(json: &[u8]) -> Result<Self, $crate::DecodeError> {
                Ok(serde_json::from_slice(json)?)
            }
        }
    )+ };
}
