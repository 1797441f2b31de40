//! Get, list and watch, from the watch caches.

use super::{Registry, group_resource};
use crate::cache::{self, Change, Deliveries, Delivery, Page, Selection};
use crate::contract::Lookup;
use crate::storage;
use api::transport::{ListOptions, WatchEvent, WatchStream};
use api::{ResourceDef, StoredObject};
use async_trait::async_trait;
use futures::StreamExt;
use machinery::{GroupResource, Status};
use std::sync::Arc;

impl Registry {
    /// Reads one object. `version` as in the API: unset is the most recent, "0" whatever the cache has, anything
    /// else not older than that. 404 when there is none.
    pub async fn get(
        &self,
        def: &ResourceDef,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<StoredObject>, Status> {
        let stored = match version.filter(|v| !v.is_empty()) {
            None => self.read_current(def, namespace, name).await?,
            Some(version) => {
                let cache = self.feed.cache(&def.storage).await?;
                let revision = version.parse::<i64>().map_err(|_| {
                    Status::bad_request(format!("invalid resource version {version:?}: it must be a number"))
                })?;
                self.feed.wait_for(revision).await?;
                cache.get(&storage::local_key(namespace, name))
            }
        };
        let stored = stored.ok_or_else(|| Status::not_found(&group_resource(def), name))?;
        self.served(def, &stored).await
    }

    fn selection(
        &self,
        def: &Arc<ResourceDef>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Selection, Status> {
        let table = self.resources();
        Selection::new(table.stored_form(def), def, namespace, options)
    }

    /// Lists a collection; objects are in the version of `def`.
    pub async fn list(
        &self,
        def: &Arc<ResourceDef>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Page, Status> {
        let selection = self.selection(def, namespace, options)?;
        let cache = self.feed.cache(&def.storage).await?;
        let mut page = cache::list(&self.feed, &cache, &selection, options).await?;
        self.serve_all(def, &mut page.items).await?;
        Ok(page)
    }

    /// The same for whoever reads the page's walk too. Objects that have to be converted are all on the page.
    pub async fn list_for_stream(
        &self,
        def: &Arc<ResourceDef>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Page, Status> {
        if def.conversion.is_some() {
            return self.list(def, namespace, options).await;
        }
        let selection = self.selection(def, namespace, options)?;
        let cache = self.feed.cache(&def.storage).await?;
        cache::list_for_stream(&self.feed, &cache, &selection, options).await
    }

    /// Watches a collection; objects are as stored, see [`Registry::served`].
    pub async fn watch(
        &self,
        def: &Arc<ResourceDef>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Deliveries, Status> {
        let selection = self.selection(def, namespace, options)?;
        let cache = self.feed.cache(&def.storage).await?;
        cache::watch(self.feed.clone(), cache, selection, options).await
    }

    /// Watches a collection for a consumer in this process; objects are in the version of `def`.
    pub async fn watch_objects(
        self: &Arc<Self>,
        def: &Arc<ResourceDef>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream, Status> {
        let deliveries = self.watch(def, namespace, options).await?;
        let (registry, def) = (self.clone(), def.clone());
        let events = deliveries.then(move |batch| {
            let (registry, def) = (registry.clone(), def.clone());
            async move {
                let mut events = Vec::with_capacity(batch.len());
                for delivery in batch {
                    events.push(registry.event(&def, delivery).await);
                }
                futures::stream::iter(events)
            }
        });
        Ok(events.flatten().boxed())
    }

    async fn event(&self, def: &ResourceDef, delivery: Delivery) -> Result<WatchEvent, Status> {
        Ok(match delivery {
            Delivery::Initial(object) => WatchEvent::Added(self.served(def, &object).await?),
            Delivery::Change(change, event) => {
                let object = self.served(def, &event.object_for(change)).await?;
                match change {
                    Change::Added => WatchEvent::Added(object),
                    Change::Modified => WatchEvent::Modified(object),
                    Change::Deleted => WatchEvent::Deleted(object),
                }
            }
            Delivery::Bookmark { revision, initial_done } => WatchEvent::Bookmark { revision, initial_done },
        })
    }
}

#[async_trait]
impl Lookup for Registry {
    async fn get(
        &self,
        storage: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<StoredObject>>, Status> {
        let cache = self.feed.cache(storage).await?;
        Ok(cache.get(&storage::local_key(namespace, name)))
    }

    async fn list(&self, storage: &GroupResource, namespace: &str) -> Result<Vec<Arc<StoredObject>>, Status> {
        let cache = self.feed.cache(storage).await?;
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        Ok(cache.snapshot().range(&prefix, "").map(|(_, object)| object.clone()).collect())
    }
}
