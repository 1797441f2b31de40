//! The registry: create, get, list, watch, update, patch and delete of every resource of the table, built-in or
//! custom, as upstream's generic store does them.
//!
//! Order of a write: decode, default, prepare, managed fields, mutating admission, validation, validating
//! admission, allocation, commit. Deliberately absent: HTTP, authentication, authorization.

mod bodies;
mod caller;
mod commit;
mod convert;
mod create;
mod decode;
mod delete;
mod delete_collection;
mod grace;
mod leases;
mod managed;
mod patch;
mod policy;
mod read;
mod scale;
mod update;

pub use caller::Caller;
pub(crate) use create::{fresh_uid, uid_of};
pub(crate) use policy::returns_deleted;
pub use scale::ScaleBody;
pub use update::{At, Current, Written};

use crate::cache::Feed;
use crate::contract::{Admission, AdmissionRequest, Context, SubresourceHandler, VirtualResource};
use crate::openapi::{Customs, NoCustoms};
use api::{Object, ResourceDef, ResourceTable, StoredObject};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use component::{SharedClock, Tasks};
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use machinery::{GroupResource, GroupVersionResource, Status};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Work around the commit of some resources: allocation of cluster IPs and node ports.
#[async_trait]
pub trait CommitHook: Send + Sync {
    /// Called after mutating admission, before validation; may set fields. What it reserves is given back unless
    /// the commit succeeds.
    async fn before(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        dry_run: bool,
    ) -> Result<Reservation, Status>;
    /// Called after an object was removed.
    async fn removed(&self, old: &dyn Object);
}

/// What a hook reserved. Dropping it gives it back.
pub struct Reservation {
    undo: Option<(Tasks, BoxFuture<'static, ()>)>,
    done: Option<BoxFuture<'static, ()>>,
}

impl Reservation {
    /// Nothing was reserved.
    pub fn none() -> Self {
        Self { undo: None, done: None }
    }

    /// `undo` runs, in `tasks`, if the commit fails, `done` if it succeeds.
    pub fn new(tasks: &Tasks, undo: BoxFuture<'static, ()>, done: BoxFuture<'static, ()>) -> Self {
        Self { undo: Some((tasks.clone(), undo)), done: Some(done) }
    }

    /// The commit succeeded.
    async fn keep(mut self) {
        self.undo = None;
        if let Some(done) = self.done.take() {
            done.await;
        }
    }

    /// Nobody knows whether the commit succeeded: giving back could take from a stored object.
    fn leave(mut self) {
        self.undo = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some((tasks, undo)) = self.undo.take() {
            tasks.spawn("giving back a reservation", undo);
        }
    }
}

/// What the registry needs that is put together after it.
#[derive(Default)]
pub struct Plugins {
    /// Admission chain.
    pub admission: Vec<Arc<dyn Admission>>,
    /// Subresources by group, plural and name.
    pub subresources: HashMap<(String, String, String), Arc<dyn SubresourceHandler>>,
    /// Computed resources by group and plural.
    pub virtuals: HashMap<(String, String), Arc<dyn VirtualResource>>,
    /// Commit hooks by storage.
    pub hooks: HashMap<GroupResource, Arc<dyn CommitHook>>,
}

/// Every resource's objects. All methods may be called concurrently.
pub struct Registry {
    feed: Arc<Feed>,
    clock: SharedClock,
    resources: ArcSwap<ResourceTable>,
    customs: RwLock<Arc<dyn Customs>>,
    plugins: OnceLock<Plugins>,
    context: OnceLock<Context>,
    leases: leases::Leases,
    changed: tokio::sync::Notify,
}

impl Registry {
    /// A registry over `feed`'s store. [`Registry::complete`] must follow before the first request.
    pub fn new(feed: Arc<Feed>, event_ttl: std::time::Duration) -> Self {
        Self {
            clock: feed.clock().clone(),
            leases: leases::Leases::new(feed.store().clone(), feed.clock().clone(), event_ttl),
            feed,
            resources: ArcSwap::from(ResourceTable::shared().clone()),
            customs: RwLock::new(Arc::new(NoCustoms)),
            plugins: OnceLock::new(),
            context: OnceLock::new(),
            changed: tokio::sync::Notify::new(),
        }
    }

    /// Adds what could be made only after the registry. Later calls change nothing.
    pub fn complete(&self, plugins: Plugins, context: Context) {
        let _ = self.plugins.set(plugins);
        let _ = self.context.set(context);
    }

    /// The watch caches.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The resources served now.
    pub fn resources(&self) -> Arc<ResourceTable> {
        self.resources.load_full()
    }

    /// Replaces the resources served, when CustomResourceDefinitions change.
    pub fn set_resources(&self, table: Arc<ResourceTable>) {
        self.resources.store(table);
        self.changed.notify_one();
    }

    /// Waits until the resources served change. One caller at a time.
    pub(crate) async fn resources_changed(&self) {
        self.changed.notified().await;
    }

    /// Says who knows the schemas of custom resources, for OpenAPI. Call it before the table that has them.
    pub fn set_customs(&self, customs: Arc<dyn Customs>) {
        *self.customs.write() = customs;
    }

    /// What is known of custom resources, for OpenAPI.
    pub fn customs(&self) -> Arc<dyn Customs> {
        self.customs.read().clone()
    }

    /// The resource of a path; 404 when it is not served.
    pub fn resource(&self, gvr: &GroupVersionResource) -> Result<Arc<ResourceDef>, Status> {
        self.resource_at(&gvr.group, &gvr.version, &gvr.resource)
    }

    /// The resource of a path; 404 when it is not served.
    pub fn resource_at(&self, group: &str, version: &str, plural: &str) -> Result<Arc<ResourceDef>, Status> {
        self.resources.load().find(group, version, plural).cloned().ok_or_else(Status::no_such_path)
    }

    pub(crate) fn plugins(&self) -> Result<&Plugins, Status> {
        self.plugins.get().ok_or_else(|| Status::unavailable("the server is still starting"))
    }

    /// What plugins may use; 503 while the server starts.
    pub fn context(&self) -> Result<&Context, Status> {
        self.context.get().ok_or_else(|| Status::unavailable("the server is still starting"))
    }

    /// The handler of a subresource, if it is not the registry's own.
    pub fn subresource(&self, def: &ResourceDef, name: &str) -> Option<Arc<dyn SubresourceHandler>> {
        let key = (def.gvk.group.to_string(), def.plural.to_string(), name.to_owned());
        self.plugins.get()?.subresources.get(&key).cloned()
    }

    /// The implementation of a computed resource.
    pub fn virtual_resource(&self, def: &ResourceDef) -> Option<Arc<dyn VirtualResource>> {
        // A handful: looking through them takes less than making a key.
        let mut all = self.plugins.get()?.virtuals.iter();
        let found = all.find(|((group, plural), _)| def.plural == *plural && def.gvk.group == *group);
        found.map(|(_, computed)| computed.clone())
    }

    /// Now, in whole seconds as the API stores times.
    pub(crate) fn now(&self) -> Timestamp {
        let since = self.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The stored object in the version of `def`.
    pub async fn served(
        &self,
        def: &ResourceDef,
        stored: &Arc<StoredObject>,
    ) -> Result<Arc<StoredObject>, Status> {
        let mut one = [stored.clone()];
        self.serve_all(def, &mut one).await?;
        let [served] = one;
        Ok(served)
    }

    /// The stored objects in the version of `def`, in place. A remote conversion is asked once for all of them.
    pub async fn serve_all(&self, def: &ResourceDef, items: &mut [Arc<StoredObject>]) -> Result<(), Status> {
        let Some(conversion) = &def.conversion else { return Ok(()) };
        if let Some(remote) = &conversion.remote {
            return convert::serve(def, remote.as_ref(), items).await;
        }
        for item in items {
            *item = self.served_here(def, item)?;
        }
        Ok(())
    }

    /// The same for one object where no remote conversion is needed.
    pub(crate) fn served_here(
        &self,
        def: &ResourceDef,
        stored: &Arc<StoredObject>,
    ) -> Result<Arc<StoredObject>, Status> {
        let Some(conversion) = &def.conversion else { return Ok(stored.clone()) };
        let object = self.stored_object(def, stored)?;
        let mut converted = (conversion.from_stored)(object.as_ref()).map_err(Status::internal)?;
        converted.meta_mut().resource_version = Some(stored.revision().to_string());
        StoredObject::from_object(converted).map(Arc::new).map_err(Status::internal)
    }

    /// The decoded object in its stored version, with managed fields.
    pub(crate) fn stored_object(
        &self,
        def: &ResourceDef,
        stored: &StoredObject,
    ) -> Result<Arc<dyn Object>, Status> {
        let strategy = match &def.conversion {
            None => def.strategy.clone(),
            Some(conversion) => match self.resources.load().by_gvk(&conversion.stored) {
                Some(row) => row.strategy.clone(),
                None => def.strategy.clone(),
            },
        };
        stored.decode(strategy.as_ref()).map(Arc::from).map_err(Status::internal)
    }

    /// The decoded object in the version of `def`, with managed fields.
    pub(crate) async fn served_object(
        &self,
        def: &ResourceDef,
        stored: &Arc<StoredObject>,
    ) -> Result<Arc<dyn Object>, Status> {
        if def.conversion.as_ref().is_some_and(|conversion| conversion.remote.is_some()) {
            let served = self.served(def, stored).await?;
            return served.decode(def.strategy.as_ref()).map(Arc::from).map_err(Status::internal);
        }
        let object = self.stored_object(def, stored)?;
        let Some(conversion) = &def.conversion else { return Ok(object) };
        let mut converted = (conversion.from_stored)(object.as_ref()).map_err(Status::internal)?;
        converted.meta_mut().resource_version = Some(stored.revision().to_string());
        Ok(Arc::from(converted))
    }

    /// A body to an object of `def` in `namespace`, with defaults and checked fields. For computed resources.
    pub(crate) fn decode(
        &self,
        caller: &Caller,
        def: &ResourceDef,
        namespace: &str,
        body: &[u8],
        options: &api::transport::WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        let mut object = decode::object(caller, def, body, options.field_validation.as_deref())?;
        if def.namespaced {
            create::check_namespace(def, namespace, object.as_mut())?;
        }
        Ok(object)
    }

    pub(crate) async fn admit(&self, caller: &Caller, request: &mut AdmissionRequest) -> Result<(), Status> {
        let operation = request.operation;
        for plugin in self.plugins()?.admission.iter().filter(|p| p.handles(operation)) {
            plugin.admit(request).await?;
        }
        caller.warn(request.warnings.take());
        Ok(())
    }

    pub(crate) async fn admit_validate(
        &self,
        caller: &Caller,
        request: &AdmissionRequest,
    ) -> Result<(), Status> {
        for plugin in self.plugins()?.admission.iter().filter(|p| p.handles(request.operation)) {
            plugin.validate(request).await?;
        }
        caller.warn(request.warnings.take());
        Ok(())
    }
}

/// Group and resource for messages.
pub(crate) fn group_resource(def: &ResourceDef) -> GroupResource {
    GroupResource { group: def.gvk.group.clone(), resource: def.plural.clone() }
}
