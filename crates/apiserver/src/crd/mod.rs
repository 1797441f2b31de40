//! Custom resources: CustomResourceDefinitions become rows of the resource table, and are served without a
//! restart.
//!
//! Deliberately absent: storage and HTTP, which custom resources share with built-in ones; CEL
//! rules.

mod approval;
mod cleanup;
mod conversion;
mod define;
mod dynamic;
mod jsonpath;
mod names;
mod schema;
mod strategy;

pub use cleanup::CleanupFinalizer;
pub use dynamic::DynamicObject;
pub(crate) use schema::rules::validate as validate_rules;

use crate::authz::feed::{Sink, feed};
use crate::contract::Context;
use crate::openapi::Customs;
use crate::registry::Registry;
use api::apiextensions::custom_resource_definition::is_established;
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::k8s_openapi::jiff::Timestamp;
use api::transport::{Target, WriteOptions};
use api::{Object, ResourceTable, StoredObject};
use define::Defined;
use machinery::{GroupVersionKind, GroupVersionResource};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const RETRY: Duration = Duration::from_millis(200);

/// A definition and, once it is established, its rows.
#[derive(Clone)]
struct Entry {
    crd: Arc<CustomResourceDefinition>,
    /// What the rows were made of: generation and whether it is going away.
    made_of: Option<(i64, bool, usize)>,
    defined: Arc<Vec<Defined>>,
}

/// The schemas of the rows that are served, for OpenAPI.
struct Schemas(HashMap<GroupVersionKind, Arc<Value>>);

impl Customs for Schemas {
    fn schema(&self, gvk: &GroupVersionKind) -> Option<Arc<Value>> {
        self.0.get(gvk).cloned()
    }
}

type Entries = BTreeMap<String, Entry>;

/// The definitions of the cluster.
pub struct CustomResources {
    context: Context,
    registry: Arc<Registry>,
    entries: Mutex<Entries>,
    /// Names of definitions that changed since they were last settled.
    touched: Mutex<HashSet<String>>,
    changed: Notify,
}

/// Follows the definitions; returns when every established one is served.
pub async fn start(context: &Context, registry: &Arc<Registry>) -> Arc<CustomResources> {
    let customs = Arc::new(CustomResources {
        context: context.clone(),
        registry: registry.clone(),
        entries: Mutex::default(),
        touched: Mutex::default(),
        changed: Notify::new(),
    });
    feed(context, resource(), customs.clone()).await;
    let settling = customs.clone();
    context.tasks.spawn_until_stopped("custom resources", async move { settling.settle().await });
    customs
}

fn resource() -> GroupVersionResource {
    GroupVersionResource::new("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

/// One definition.
fn target(name: &str) -> Target {
    Target::all(resource()).named(name)
}

fn entry(context: &Context, object: &StoredObject, known: Option<&Entry>) -> Option<Entry> {
    let crd = match object.get::<CustomResourceDefinition>() {
        Ok(crd) => crd,
        Err(error) => {
            tracing::warn!(%error, "failed to read a CustomResourceDefinition; it is not served");
            return None;
        }
    };
    if !is_established(&crd) {
        return Some(Entry { crd, made_of: None, defined: Arc::default() });
    }
    let stored = crd.status.as_ref().and_then(|status| status.stored_versions.as_ref()).map_or(0, Vec::len);
    let made_of =
        Some((crd.metadata.generation.unwrap_or(0), crd.metadata.deletion_timestamp.is_some(), stored));
    if let Some(known) =
        known.filter(|known| known.made_of == made_of && known.crd.metadata.uid == crd.metadata.uid)
    {
        return Some(Entry { crd, ..known.clone() });
    }
    let tree = serde_json::from_slice(object.raw()).unwrap_or_default();
    let defined = Arc::new(define::define(context, &crd, &tree));
    Some(Entry { crd, made_of, defined })
}

impl Sink for CustomResources {
    fn replace(&self, objects: &[Arc<StoredObject>]) {
        let mut entries = self.entries.lock();
        let known = std::mem::take(&mut *entries);
        for object in objects {
            let name = object.meta().name.clone().unwrap_or_default();
            if let Some(entry) = entry(&self.context, object, known.get(&name)) {
                self.touched.lock().insert(name.clone());
                entries.insert(name, entry);
            }
        }
        self.publish(&entries);
    }

    fn set(&self, object: &StoredObject) {
        let name = object.meta().name.clone().unwrap_or_default();
        self.touched.lock().insert(name.clone());
        let mut entries = self.entries.lock();
        let known = entries.get(&name).cloned();
        let Some(entry) = entry(&self.context, object, known.as_ref()) else { return };
        let before = known.map(|known| known.defined).unwrap_or_default();
        let same = Arc::ptr_eq(&before, &entry.defined) || (before.is_empty() && entry.defined.is_empty());
        entries.insert(name, entry);
        if same {
            self.changed.notify_one();
        } else {
            self.publish(&entries);
        }
    }

    fn remove(&self, object: &StoredObject) {
        let mut entries = self.entries.lock();
        entries.remove(object.meta().name.as_deref().unwrap_or_default());
        self.publish(&entries);
    }
}

impl CustomResources {
    /// Serves what the entries define.
    fn publish(&self, entries: &Entries) {
        let all = entries.values().flat_map(|entry| entry.defined.iter());
        let (mut rows, mut schemas) = (Vec::new(), HashMap::new());
        for defined in all {
            rows.push(defined.def.clone());
            if let Some(schema) = &defined.schema {
                schemas.insert(defined.def.gvk.clone(), schema.clone());
            }
        }
        let table = Arc::new(ResourceTable::new(rows));
        self.registry.set_customs(Arc::new(Schemas(schemas)));
        self.registry.set_resources(table);
        self.changed.notify_one();
    }

    /// Keeps the status of every definition as it should be, and clears away those that are deleted. Each time
    /// only those are looked at that changed or wait for names, so that many definitions cost little.
    async fn settle(self: Arc<Self>) {
        let mut cleaning = HashSet::new();
        loop {
            let touched = std::mem::take(&mut *self.touched.lock());
            let mut all: Vec<Arc<CustomResourceDefinition>> =
                self.entries.lock().values().map(|entry| entry.crd.clone()).collect();
            let mut failed = false;
            for at in 0..all.len() {
                let crd = all[at].clone();
                let name = crd.metadata.name.clone().unwrap_or_default();
                if crd.metadata.deletion_timestamp.is_some() {
                    let uid = crd.metadata.uid.clone().unwrap_or_default();
                    if cleanup::is_pending(&crd) && cleaning.insert(uid) {
                        cleanup::spawn(&self.context, &crd);
                    }
                    continue;
                }
                if !touched.contains(&name) && names::accepted(&crd) {
                    continue;
                }
                let Some(planned) = names::plan(&crd, &all, self.now()) else { continue };
                if self.write(&planned).await {
                    // What one gets decides what the next may have.
                    all[at] = Arc::new(planned);
                } else {
                    failed = true;
                    self.touched.lock().insert(name);
                }
            }
            cleaning.retain(|uid| all.iter().any(|crd| crd.metadata.uid.as_ref() == Some(uid)));
            if failed {
                self.context.clock.sleep(RETRY).await;
            } else {
                self.changed.notified().await;
            }
        }
    }

    fn now(&self) -> Timestamp {
        let now = crate::authn::service_account::now(&self.context);
        Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Writes a status; whether it is stored, or was overtaken by another write that will be seen soon.
    async fn write(&self, crd: &CustomResourceDefinition) -> bool {
        let target = target(crd.metadata.name.as_deref().unwrap_or_default()).sub("status");
        match self.context.loopback.update(&target, crd.to_json().into(), &WriteOptions::default()).await {
            Ok(_) => true,
            Err(error) if error.is_conflict() || error.is_not_found() => true,
            Err(error) => {
                tracing::warn!(%error, "failed to write the status of a CustomResourceDefinition; trying again");
                false
            }
        }
    }
}
