//! [`FakeApi`]: an API server in memory, for tests of whoever uses a [`Client`]. It applies the real rules of the
//! resource table (defaults, strategies, validation), resource versions, finalizers, graceful deletion of pods, label
//! and field selectors, and watches with history; and it can be told to fail.
//!
//! Deliberately absent: authentication, admission, custom resources, garbage collection, strategic merge (a strategic
//! patch is taken as a merge patch) and server-side apply's ownership (an apply replaces or creates).

mod transport;

use crate::client::Client;
use api::transport::{ListOptions, Target, WatchEvent};
use api::{Kind, Object, ResourceDef, StoredObject};
use component::SharedClock;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::{GroupResource, GroupVersionResource, Status, fields, labels};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

type Key = (GroupResource, String, String);

/// An API server in memory. Clones share its state.
#[derive(Clone)]
pub struct FakeApi {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts changes, and wakes watchers.
    changed: watch::Sender<u64>,
    clock: SharedClock,
}

/// One commit.
#[derive(Clone)]
struct Commit {
    revision: i64,
    key: Key,
    old: Option<Arc<StoredObject>>,
    new: Option<Arc<StoredObject>>,
    /// What a deletion is told as.
    last: Option<Arc<StoredObject>>,
}

#[derive(Default)]
struct State {
    revision: i64,
    compacted: i64,
    objects: BTreeMap<Key, Arc<StoredObject>>,
    log: Vec<Commit>,
    /// Watches opened before this epoch end.
    epoch: u64,
    failures: Vec<Failure>,
    requests: Vec<Request>,
    refuse_initial_events: bool,
    serial: u64,
}

struct Failure {
    verb: &'static str,
    resource: String,
    status: Status,
    times: usize,
}

/// A request that the fake answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// What it was about.
    pub target: Target,
}

/// The row of a resource.
fn def_of(resource: &GroupVersionResource) -> Result<Arc<ResourceDef>, Status> {
    let mut rows = api::table::builtin().iter();
    rows.find(|def| def.gvr() == *resource).cloned().ok_or_else(Status::no_such_path)
}

impl FakeApi {
    /// An empty server whose stamps come from `clock`.
    pub fn new(clock: SharedClock) -> Self {
        let state = State { revision: 1, ..State::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(0), clock }) }
    }

    /// A client of this server.
    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()))
    }

    /// Answers the next `times` requests with `verb` on the plural `resource` with `status`.
    pub fn fail(&self, verb: &'static str, resource: &str, status: Status, times: usize) {
        let failure = Failure { verb, resource: resource.to_owned(), status, times };
        self.shared.state.lock().failures.push(failure);
    }

    /// Ends every open watch.
    pub fn break_watches(&self) {
        self.shared.state.lock().epoch += 1;
        self.wake();
    }

    /// Forgets history: watches that resume before now get 410.
    pub fn compact(&self) {
        let mut state = self.shared.state.lock();
        state.compacted = state.revision;
        state.log.clear();
    }

    /// Refuses watches that ask for initial events, like servers before v1.27.
    pub fn refuse_initial_events(&self) {
        self.shared.state.lock().refuse_initial_events = true;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().requests.clone()
    }

    /// How many requests with `verb` on the plural `resource` there were.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        let state = self.shared.state.lock();
        state.requests.iter().filter(|r| r.verb == verb && r.target.resource.resource == resource).count()
    }

    /// The objects of a kind, decoded.
    pub fn objects<K: Kind>(&self) -> Vec<Arc<K>> {
        let resource = GroupResource::new(K::GROUP, K::PLURAL);
        let state = self.shared.state.lock();
        let rows = state.objects.iter().filter(|((known, ..), _)| *known == resource);
        rows.filter_map(|(_, stored)| stored.get::<K>().ok()).collect()
    }

    /// Waits until `condition` holds, looking again after every change. Panics after ten seconds: for tests.
    #[allow(clippy::panic, reason = "this is a test's assertion")]
    pub async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            while !condition(self) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.is_err() {
            panic!("waited in vain until {what}");
        }
    }

    fn wake(&self) {
        self.shared.changed.send_modify(|count| *count += 1);
    }

    fn begin(&self, verb: &'static str, target: &Target) -> Result<Arc<ResourceDef>, Status> {
        let mut state = self.shared.state.lock();
        state.requests.push(Request { verb, target: target.clone() });
        let resource = &target.resource.resource;
        if let Some(at) = state.failures.iter().position(|f| f.verb == verb && f.resource == *resource) {
            let status = state.failures[at].status.clone();
            state.failures[at].times -= 1;
            if state.failures[at].times == 0 {
                state.failures.remove(at);
            }
            return Err(status);
        }
        def_of(&target.resource)
    }
}

impl State {
    fn find(&self, key: &Key) -> Result<Arc<StoredObject>, Status> {
        self.objects.get(key).cloned().ok_or_else(|| Status::not_found(&key.0, &key.2))
    }

    /// Stores `object` at a new revision, or removes the key.
    fn commit(
        &mut self,
        key: Key,
        mut object: Box<dyn Object>,
        removed: bool,
    ) -> Result<Arc<StoredObject>, Status> {
        self.revision += 1;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        let stored = Arc::new(StoredObject::from_object(object).map_err(Status::internal)?);
        let old = self.objects.get(&key).cloned();
        let (new, last) = if removed {
            self.objects.remove(&key);
            (None, Some(stored.clone()))
        } else {
            self.objects.insert(key.clone(), stored.clone());
            (Some(stored.clone()), None)
        };
        self.log.push(Commit { revision: self.revision, key, old, new, last });
        Ok(stored)
    }
}

/// What a list or watch selects.
struct Filter {
    resource: GroupResource,
    namespace: Option<String>,
    labels: labels::Selector,
    fields: fields::Selector,
    def: Arc<ResourceDef>,
}

impl Filter {
    fn new(def: Arc<ResourceDef>, target: &Target, options: &ListOptions) -> Result<Self, Status> {
        Ok(Self {
            resource: def.storage.clone(),
            namespace: target.namespace.clone(),
            labels: labels::Selector::parse(options.label_selector.as_deref().unwrap_or(""))
                .map_err(Status::bad_request)?,
            fields: fields::Selector::parse(options.field_selector.as_deref().unwrap_or(""))
                .map_err(Status::bad_request)?,
            def,
        })
    }

    fn covers(&self, key: &Key) -> bool {
        key.0 == self.resource && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.1)
    }

    fn selects(&self, stored: &StoredObject) -> bool {
        let Ok(object) = stored.object(&*self.def.strategy) else { return false };
        self.labels.matches(&object.meta().labels)
            && self.fields.matches(|field| match field {
                "metadata.name" => object.meta().name.clone().unwrap_or_default(),
                "metadata.namespace" => object.meta().namespace.clone().unwrap_or_default(),
                other => {
                    let selectable = self.def.selectable.iter().find(|known| known.path == other);
                    selectable.map(|known| (known.get)(&*object)).unwrap_or_default()
                }
            })
    }

    /// How a watch tells a commit.
    fn tell(&self, commit: &Commit) -> Option<WatchEvent> {
        if !self.covers(&commit.key) {
            return None;
        }
        let before = commit.old.as_ref().is_some_and(|old| self.selects(old));
        match &commit.new {
            Some(new) if self.selects(new) => {
                Some(if before { WatchEvent::Modified(new.clone()) } else { WatchEvent::Added(new.clone()) })
            }
            Some(new) if before => Some(WatchEvent::Deleted(new.clone())),
            None if before => commit.last.clone().map(WatchEvent::Deleted),
            _ => None,
        }
    }
}

fn is_finalized(meta: &ObjectMeta) -> bool {
    meta.finalizers.as_ref().is_none_or(Vec::is_empty)
}
