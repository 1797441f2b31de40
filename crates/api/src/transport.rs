//! [`Transport`]: the Kubernetes API as a component sees it. The API server implements it in process (its
//! watch cache hands out its own `Arc`s); `client` implements it over HTTP for anyone's cluster.

use crate::stored::StoredObject;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use machinery::gvk::Name;
use machinery::{GroupVersionResource, Status};
use std::sync::Arc;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Group, version and plural.
    pub resource: GroupVersionResource,
    /// Namespace; `None` for cluster-scoped resources and for lists across namespaces.
    pub namespace: Option<String>,
    /// Name of the object; `None` for collections.
    pub name: Option<String>,
    /// Subresource such as `status`.
    pub subresource: Option<Name>,
}

impl Target {
    /// A collection across all namespaces.
    pub fn all(resource: GroupVersionResource) -> Self {
        Self { resource, namespace: None, name: None, subresource: None }
    }

    /// The collection in `namespace`; an empty one means all.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        self
    }

    /// The object called `name`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// A subresource of the object.
    #[must_use]
    #[allow(
        clippy::should_implement_trait,
        reason = "the field's short name; subtraction makes no sense here"
    )]
    pub fn sub(mut self, subresource: impl Into<Name>) -> Self {
        self.subresource = Some(subresource.into());
        self
    }
}

/// Options of get, list and watch (`meta/v1.ListOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector in its string form.
    pub label_selector: Option<String>,
    /// Field selector in its string form.
    pub field_selector: Option<String>,
    /// `None` is the most recent; "0" is whatever the cache has.
    pub resource_version: Option<String>,
    /// `Exact` or `NotOlderThan`.
    pub resource_version_match: Option<String>,
    /// Page size, 0 for none.
    pub limit: u64,
    /// Token of the next page.
    pub continue_token: Option<String>,
    /// Watch only: send bookmarks.
    pub allow_bookmarks: bool,
    /// Watch only: start with synthetic ADDED events and a bookmark (KEP-3157).
    pub send_initial_events: Option<bool>,
    /// Watch only: end after this many seconds.
    pub timeout_seconds: Option<u64>,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Who owns the fields written.
    pub field_manager: Option<String>,
    /// Apply only: take over conflicting fields.
    pub force: bool,
    /// Check everything, store nothing.
    pub dry_run: bool,
    /// `Strict`, `Warn` or `Ignore`; `None` is `Warn` as over HTTP.
    pub field_validation: Option<String>,
}

/// What happens to dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay, without their owner reference.
    Orphan,
    /// The garbage collector removes them afterwards.
    Background,
    /// They go first.
    Foreground,
}

/// Options of delete (`meta/v1.DeleteOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds until the object is gone; `None` is the kind's default.
    pub grace_period_seconds: Option<i64>,
    /// Only if the object has this UID.
    pub uid: Option<String>,
    /// Only if the object has this resource version.
    pub resource_version: Option<String>,
    /// What happens to dependents; `None` is the kind's default.
    pub propagation: Option<Propagation>,
    /// Check everything, store nothing.
    pub dry_run: bool,
}

/// A patch and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 6902.
    Json(Bytes),
    /// RFC 7386.
    Merge(Bytes),
    /// Strategic merge patch (API conventions).
    Strategic(Bytes),
    /// Server-side apply (KEP-555), JSON or YAML.
    Apply(Bytes),
}

impl Patch {
    /// Its media type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json-patch+json",
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Apply(_) => "application/apply-patch+yaml",
        }
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Json(body) | Self::Merge(body) | Self::Strategic(body) | Self::Apply(body) => body,
        }
    }
}

/// A page of objects.
#[derive(Clone, Debug, Default)]
pub struct ObjectList {
    /// Revision of the snapshot: the list's resource version.
    pub revision: i64,
    /// The objects, ordered by key.
    pub items: Vec<Arc<StoredObject>>,
    /// Token of the next page, if any.
    pub continue_token: Option<String>,
    /// How many objects follow this page, where known.
    pub remaining: Option<u64>,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// It is new, or new to the selector.
    Added(Arc<StoredObject>),
    /// It changed.
    Modified(Arc<StoredObject>),
    /// It is gone, or no longer selected; its last state, at the revision of the deletion.
    Deleted(Arc<StoredObject>),
    /// Everything up to `revision` was sent; `initial_done` marks the end of the initial events.
    Bookmark {
        /// The revision reached.
        revision: i64,
        /// Whether the initial events end here.
        initial_done: bool,
    },
}

/// Events in order of revision; ends after an error.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Status>>;

/// What a deletion left.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<StoredObject>),
    /// The object waits for its grace period or finalizers.
    Pending(Arc<StoredObject>),
}

/// The API under one identity. Object-safe; share as `Arc<dyn Transport>`. All methods may be called
/// concurrently.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Reads one object.
    async fn get(&self, target: &Target) -> Result<Arc<StoredObject>, Status>;
    /// Lists a collection.
    async fn list(&self, target: &Target, options: &ListOptions) -> Result<ObjectList, Status>;
    /// Watches a collection.
    async fn watch(&self, target: &Target, options: &ListOptions) -> Result<WatchStream, Status>;
    /// Creates an object, or posts to a subresource when the target has a name and one. The answer of a
    /// subresource may be of another kind.
    async fn create(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status>;
    /// Replaces an object.
    async fn update(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status>;
    /// Patches an object.
    async fn patch(
        &self,
        target: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status>;
    /// Deletes an object.
    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Deleted, Status>;
    /// Deletes every object of a collection that `list` selects.
    async fn delete_collection(
        &self,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status>;
}
