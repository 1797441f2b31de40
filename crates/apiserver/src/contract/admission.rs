//! Admission: what may still change or refuse a write after it was authorized.

use super::UserInfo;
use api::{Object, ResourceDef};
use async_trait::async_trait;
use machinery::gvk::Name;
use machinery::{GroupResource, Status};
use parking_lot::Mutex;
use std::sync::Arc;

/// What a request does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object.
    Update,
    /// A deletion.
    Delete,
    /// A connection to the thing behind the object (exec, proxy, …).
    Connect,
}

impl Operation {
    /// As `AdmissionReview` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// Texts for `Warning` headers, gathered while a request is admitted.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds one.
    pub fn push(&self, text: String) {
        self.0.lock().push(text);
    }

    /// Adds several.
    pub fn extend(&self, texts: impl IntoIterator<Item = String>) {
        self.0.lock().extend(texts);
    }

    /// Takes what was gathered so far.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A write on its way to storage.
#[derive(Debug)]
pub struct AdmissionRequest {
    /// What it does.
    pub operation: Operation,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The resource as requested.
    pub def: Arc<ResourceDef>,
    /// Subresource, or empty.
    pub subresource: Name,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name; empty on creation with `generateName`, and when a collection is deleted.
    pub name: String,
    /// The new object; `None` on deletion. Of another kind than `def` for some subresources.
    pub object: Option<Box<dyn Object>>,
    /// The object as it is; `None` on creation.
    pub old: Option<Arc<dyn Object>>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The options of the request as JSON (`CreateOptions`, `UpdateOptions`, `PatchOptions`, `DeleteOptions`).
    pub options: serde_json::Value,
    /// Texts for `Warning` headers; plugins add to it.
    pub warnings: Warnings,
}

impl AdmissionRequest {
    /// Group and resource, for messages.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.def.gvk.group.clone(), self.def.plural.clone())
    }

    /// Whether it is about `resource` of `group` itself, not a subresource.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.def.gvk.group == group && self.def.plural == resource && self.subresource.is_empty()
    }
}

/// An admission plugin. All `admit` of the chain run first, in order, then all `validate`.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Upstream's name, as `--enable-admission-plugins` takes it.
    fn name(&self) -> &'static str;
    /// Whether the plugin cares for this operation at all.
    fn handles(&self, operation: Operation) -> bool {
        let _ = operation;
        true
    }
    /// Changes or refuses the write.
    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let _ = request;
        Ok(())
    }
    /// Refuses the write.
    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let _ = request;
        Ok(())
    }
}
