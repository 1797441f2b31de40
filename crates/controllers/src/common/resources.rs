//! [`Resources`]: every resource that can be listed and deleted, built-in and custom. The built-in ones come from the
//! resource table, custom ones from CustomResourceDefinitions as they come and go.

use api::{ResourceDef, Verb};
use client::{Event, Informer, InformerFactory};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use machinery::{GroupResource, GroupVersionKind, GroupVersionResource};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Group, version and plural to use.
    pub(crate) gvr: GroupVersionResource,
    /// Kind of its objects.
    pub(crate) gvk: GroupVersionKind,
    /// Whether objects live in namespaces.
    pub(crate) namespaced: bool,
}

/// Every resource that can be listed and deleted.
pub(crate) struct Resources {
    definitions: Informer<CustomResourceDefinition>,
    custom: Arc<Mutex<BTreeMap<String, Resource>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Resources {
    pub(crate) fn new(informers: &InformerFactory) -> Self {
        let definitions = informers.informer::<CustomResourceDefinition>();
        let (custom, changed) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(watch::Sender::new(0)));
        let (rows, told) = (custom.clone(), changed.clone());
        definitions.on_event(move |event| {
            let name = event.object().metadata.name.clone().unwrap_or_default();
            let row = match event {
                Event::Deleted(_) => None,
                event => custom_row(event.object()),
            };
            let mut rows = rows.lock();
            let before = match row {
                Some(row) => rows.insert(name.clone(), row),
                None => rows.remove(&name),
            };
            if before != rows.get(&name).cloned() {
                told.send_modify(|count| *count += 1);
            }
        });
        Self { definitions, custom, changed }
    }

    /// Waits until custom resources are known.
    pub(crate) async fn synced(&self) {
        self.definitions.synced().await;
    }

    /// Tells when the set changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The set now. Each stored object is covered by exactly one row.
    pub(crate) fn all(&self) -> Vec<Resource> {
        let mut seen: HashSet<GroupResource> = HashSet::new();
        let built_in =
            api::table::builtin().iter().filter(|def| is_collection(def) && seen.insert(def.storage.clone()));
        let mut all: Vec<Resource> = built_in
            .map(|def| Resource { gvr: def.gvr(), gvk: def.gvk.clone(), namespaced: def.namespaced })
            .collect();
        all.extend(self.custom.lock().values().cloned());
        all
    }

    /// The resource of a kind; another served version of a kind answers too.
    pub(crate) fn of_kind(&self, group: &str, kind: &str) -> Option<Resource> {
        let built_in =
            api::table::builtin().iter().find(|def| def.gvk.group == group && def.gvk.kind == kind);
        if let Some(def) = built_in {
            return Some(Resource { gvr: def.gvr(), gvk: def.gvk.clone(), namespaced: def.namespaced });
        }
        self.custom.lock().values().find(|row| row.gvk.group == group && row.gvk.kind == kind).cloned()
    }
}

fn is_collection(def: &ResourceDef) -> bool {
    [Verb::List, Verb::Watch, Verb::Delete].iter().all(|verb| def.verbs.contains(verb))
}

/// The stored version of an established definition, or any served one.
fn custom_row(definition: &CustomResourceDefinition) -> Option<Resource> {
    let conditions = definition.status.as_ref()?.conditions.as_ref()?;
    if !conditions.iter().any(|c| c.type_ == "Established" && c.status == "True") {
        return None;
    }
    let (spec, names) = (&definition.spec, &definition.spec.names);
    let served = || spec.versions.iter().filter(|version| version.served);
    let version = served().find(|version| version.storage).or_else(|| served().next())?.name.clone();
    Some(Resource {
        gvr: GroupVersionResource::new(spec.group.clone(), version.clone(), names.plural.clone()),
        gvk: GroupVersionKind::new(spec.group.clone(), version, names.kind.clone()),
        namespaced: spec.scope == "Namespaced",
    })
}
