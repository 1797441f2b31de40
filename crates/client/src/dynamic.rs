//! [`Dynamic`]: access to any resource, custom ones included, without a static type.

use crate::client::Client;
use api::StoredObject;
use api::transport::{
    DeleteOptions, Deleted, ListOptions, ObjectList, Patch, Target, WatchStream, WriteOptions,
};
use bytes::Bytes;
use machinery::{GroupVersionResource, Status};
use std::sync::Arc;

/// Untyped access to one resource. Objects are shared [`StoredObject`]s; bodies are JSON.
#[derive(Clone, Debug)]
pub struct Dynamic {
    client: Client,
    target: Target,
}

impl Dynamic {
    pub(crate) fn new(client: Client, resource: GroupVersionResource) -> Self {
        Self { client, target: Target::all(resource) }
    }

    /// The same access in `namespace`; an empty one means all.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { client: self.client.clone(), target: self.target.clone().in_namespace(namespace) }
    }

    /// What it accesses.
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn named(&self, name: &str) -> Target {
        self.target.clone().named(name)
    }

    fn options(&self) -> WriteOptions {
        WriteOptions {
            field_manager: self.client.field_manager().map(str::to_owned),
            ..WriteOptions::default()
        }
    }

    /// Reads one object.
    pub async fn get(&self, name: &str) -> Result<Arc<StoredObject>, Status> {
        self.client.transport().get(&self.named(name)).await
    }

    /// Reads one object that may not exist.
    pub async fn get_opt(&self, name: &str) -> Result<Option<Arc<StoredObject>>, Status> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Lists one page.
    pub async fn list(&self, options: &ListOptions) -> Result<ObjectList, Status> {
        self.client.transport().list(&self.target, options).await
    }

    /// Watches the collection.
    pub async fn watch(&self, options: &ListOptions) -> Result<WatchStream, Status> {
        self.client.transport().watch(&self.target, options).await
    }

    /// Creates an object from JSON.
    pub async fn create(&self, body: Bytes) -> Result<Arc<StoredObject>, Status> {
        self.client.transport().create(&self.target, body, &self.options()).await
    }

    /// Replaces an object by JSON.
    pub async fn update(&self, name: &str, body: Bytes) -> Result<Arc<StoredObject>, Status> {
        self.client.transport().update(&self.named(name), body, &self.options()).await
    }

    /// Patches an object.
    pub async fn patch(&self, name: &str, patch: Patch) -> Result<Arc<StoredObject>, Status> {
        self.client.transport().patch(&self.named(name), patch, &self.options()).await
    }

    /// Patches a subresource of an object.
    pub async fn patch_sub(
        &self,
        name: &str,
        sub: &'static str,
        patch: Patch,
    ) -> Result<Arc<StoredObject>, Status> {
        self.client.transport().patch(&self.named(name).sub(sub), patch, &self.options()).await
    }

    /// Deletes an object.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Deleted, Status> {
        self.client.transport().delete(&self.named(name), options).await
    }

    /// Deletes every selected object of the collection.
    pub async fn delete_collection(
        &self,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status> {
        self.client.transport().delete_collection(&self.target, list, options).await
    }
}
