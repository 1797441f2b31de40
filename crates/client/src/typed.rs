//! [`Api<K>`]: typed access to one resource. Objects come back as `Arc<K>`, decoded at most once per process
//! however many components read them.

use crate::client::Client;
use api::transport::{DeleteOptions, Deleted, ListOptions, Patch, Target, WatchEvent, WriteOptions};
use api::{DecodeError, Kind, StoredObject};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use machinery::{GroupVersionResource, Status};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Typed access to the objects of a kind, in one namespace or in all.
pub struct Api<K> {
    client: Client,
    target: Target,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), target: self.target.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({:?})", self.target)
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<K> {
    /// Revision of the snapshot.
    pub revision: i64,
    /// The objects.
    pub items: Vec<Arc<K>>,
    /// Token of the next page, if any.
    pub continue_token: Option<String>,
    /// How many objects follow this page, where known.
    pub remaining: Option<u64>,
}

/// An event of a typed watch.
#[derive(Clone, Debug)]
pub enum Watched<K> {
    /// The object is new, or new to the selector.
    Added(Arc<K>),
    /// The object changed.
    Modified(Arc<K>),
    /// The object is gone or no longer selected.
    Deleted(Arc<K>),
    /// Everything up to a revision was sent.
    Bookmark {
        /// The revision reached.
        revision: i64,
        /// Whether the initial events end here.
        initial_done: bool,
    },
}

/// What a deletion left.
#[derive(Clone, Debug)]
pub enum Removed<K> {
    /// The object is gone; its last state (over HTTP often no more than its name).
    Gone(Arc<K>),
    /// The object waits for its grace period or finalizers.
    Pending(Arc<K>),
}

/// The group, version and plural of a kind.
pub(crate) fn resource_of<K: Kind>() -> GroupVersionResource {
    GroupVersionResource::new(K::GROUP, K::VERSION, K::PLURAL)
}

fn undecodable<K: Kind>(error: &DecodeError) -> Status {
    Status::internal(format!("failed to decode a {} from the API server: {error}", K::KIND))
}

fn decode<K: Kind>(stored: &StoredObject) -> Result<Arc<K>, Status> {
    stored.get::<K>().map_err(|error| undecodable::<K>(&error))
}

impl<K: Kind> Api<K> {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        let target = Target::all(resource_of::<K>()).in_namespace(namespace);
        Self { client, target, kind: PhantomData }
    }

    /// The same access in another namespace; an empty one means all.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self::new(self.client.clone(), namespace)
    }

    fn named(&self, name: &str) -> Target {
        self.target.clone().named(name)
    }

    /// The target of a write: the object's own namespace wins over that of this access.
    fn target_of(&self, object: &K) -> Target {
        let target = self.target.clone();
        match object.meta().namespace.as_deref() {
            Some(namespace) if K::NAMESPACED => target.in_namespace(namespace),
            _ => target,
        }
    }

    fn named_target_of(&self, object: &K) -> Target {
        self.target_of(object).named(object.meta().name.as_deref().unwrap_or(""))
    }

    fn write_options(&self) -> WriteOptions {
        WriteOptions {
            field_manager: self.client.field_manager().map(str::to_owned),
            ..WriteOptions::default()
        }
    }

    /// Reads one object.
    pub async fn get(&self, name: &str) -> Result<Arc<K>, Status> {
        decode(&*self.client.transport().get(&self.named(name)).await?)
    }

    /// Reads one object that may not exist.
    pub async fn get_opt(&self, name: &str) -> Result<Option<Arc<K>>, Status> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Lists one page (everything, without a limit).
    pub async fn list(&self, options: &ListOptions) -> Result<Page<K>, Status> {
        let page = self.client.transport().list(&self.target, options).await?;
        let items = page.items.iter().map(|stored| decode(stored)).collect::<Result<_, _>>()?;
        Ok(Page {
            revision: page.revision,
            items,
            continue_token: page.continue_token,
            remaining: page.remaining,
        })
    }

    /// Creates an object.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, Status> {
        self.create_with(object, &self.write_options()).await
    }

    /// Creates an object with options.
    pub async fn create_with(&self, object: &K, options: &WriteOptions) -> Result<Arc<K>, Status> {
        let target = self.target_of(object);
        decode(&*self.client.transport().create(&target, object.to_json().into(), options).await?)
    }

    /// Replaces an object; with a resource version, only if that is still the current one.
    pub async fn update(&self, object: &K) -> Result<Arc<K>, Status> {
        let target = self.named_target_of(object);
        let transport = self.client.transport();
        decode(&*transport.update(&target, object.to_json().into(), &self.write_options()).await?)
    }

    /// Replaces an object's status; nothing else of it is written.
    pub async fn update_status(&self, object: &K) -> Result<Arc<K>, Status> {
        let target = self.named_target_of(object).sub("status");
        let transport = self.client.transport();
        decode(&*transport.update(&target, object.to_json().into(), &self.write_options()).await?)
    }

    /// Replaces through another subresource, such as `finalize` or `approval`.
    pub async fn update_subresource(&self, object: &K, subresource: &'static str) -> Result<Arc<K>, Status> {
        let target = self.named_target_of(object).sub(subresource);
        let transport = self.client.transport();
        decode(&*transport.update(&target, object.to_json().into(), &self.write_options()).await?)
    }

    /// Patches an object.
    pub async fn patch(&self, name: &str, patch: Patch) -> Result<Arc<K>, Status> {
        self.patch_with(name, patch, &self.write_options()).await
    }

    /// Patches an object with options.
    pub async fn patch_with(
        &self,
        name: &str,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Arc<K>, Status> {
        decode(&*self.client.transport().patch(&self.named(name), patch, options).await?)
    }

    /// Patches an object's status.
    pub async fn patch_status(&self, name: &str, patch: Patch) -> Result<Arc<K>, Status> {
        let target = self.named(name).sub("status");
        decode(&*self.client.transport().patch(&target, patch, &self.write_options()).await?)
    }

    /// Server-side apply (KEP-555) of `object` as `manager`; `force` takes conflicting fields over.
    pub async fn apply(&self, object: &K, manager: &str, force: bool) -> Result<Arc<K>, Status> {
        let options =
            WriteOptions { field_manager: Some(manager.to_owned()), force, ..WriteOptions::default() };
        let patch = Patch::Apply(object.to_json().into());
        let target = self.named_target_of(object);
        decode(&*self.client.transport().patch(&target, patch, &options).await?)
    }

    /// Deletes an object with the kind's default options.
    pub async fn delete(&self, name: &str) -> Result<Removed<K>, Status> {
        self.delete_with(name, &DeleteOptions::default()).await
    }

    /// Deletes an object.
    pub async fn delete_with(&self, name: &str, options: &DeleteOptions) -> Result<Removed<K>, Status> {
        Ok(match self.client.transport().delete(&self.named(name), options).await? {
            // Over HTTP most servers answer a bare success instead of the object.
            Deleted::Gone(last) => Removed::Gone(decode(&last).unwrap_or_else(|_| self.stub(name))),
            Deleted::Pending(now) => Removed::Pending(decode(&now)?),
        })
    }

    /// What is left to say about an object of which only the name is known.
    fn stub(&self, name: &str) -> Arc<K> {
        let mut stub = K::default();
        stub.meta_mut().name = Some(name.to_owned());
        stub.meta_mut().namespace = self.target.namespace.clone();
        Arc::new(stub)
    }

    /// Deletes every selected object; returns them. Over HTTP, servers may answer without them.
    pub async fn delete_collection(
        &self,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<K>>, Status> {
        let gone = self.client.transport().delete_collection(&self.target, list, options).await?;
        gone.iter().map(|stored| decode(stored)).collect()
    }

    /// Posts `body` to a subresource that is created, such as `binding`, `eviction` or `token`.
    pub async fn create_subresource<B: Kind, R: Kind>(
        &self,
        name: &str,
        subresource: &'static str,
        body: &B,
    ) -> Result<Arc<R>, Status> {
        decode::<R>(&*self.post_subresource(name, subresource, body.to_json().into()).await?)
    }

    /// Posts JSON to a subresource and answers whatever object it returns (a `Status` for `binding`).
    pub async fn post_subresource(
        &self,
        name: &str,
        subresource: &'static str,
        body: Bytes,
    ) -> Result<Arc<StoredObject>, Status> {
        let target = self.named(name).sub(subresource);
        self.client.transport().create(&target, body, &self.write_options()).await
    }

    /// Watches the collection. Prefer [`Informer`](crate::Informer), which resumes and relists.
    pub async fn watch(
        &self,
        options: &ListOptions,
    ) -> Result<BoxStream<'static, Result<Watched<K>, Status>>, Status> {
        let stream = self.client.transport().watch(&self.target, options).await?;
        Ok(stream
            .map(|event| {
                Ok(match event? {
                    WatchEvent::Added(object) => Watched::Added(decode(&object)?),
                    WatchEvent::Modified(object) => Watched::Modified(decode(&object)?),
                    WatchEvent::Deleted(object) => Watched::Deleted(decode(&object)?),
                    WatchEvent::Bookmark { revision, initial_done } => {
                        Watched::Bookmark { revision, initial_done }
                    }
                })
            })
            .boxed())
    }
}
