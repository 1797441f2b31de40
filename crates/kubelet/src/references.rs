//! ConfigMaps and Secrets that pods of this node name, each followed by one watch while a pod needs it.
//!
//! A kubelet may read only what its pods name (node authorisation), so it follows single objects, never a
//! whole kind. A change wakes the pods that use the object. Deliberately absent: what pods do with them.

use api::Kind;
use api::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use client::{Client, Informer, Selection};
use component::{SharedClock, Tasks};
use machinery::{GroupResource, Status};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for the first answer about an object before an error is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Called with the UID of a pod whose object changed.
pub(crate) type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything that pods refer to.
pub(crate) struct References {
    /// ConfigMaps.
    pub(crate) config_maps: Followed<ConfigMap>,
    /// Secrets.
    pub(crate) secrets: Followed<Secret>,
}

impl References {
    pub(crate) fn new(client: &Client, clock: &SharedClock, tasks: &Tasks, wake: &Wake) -> Self {
        Self {
            config_maps: Followed::new(client, clock, tasks, wake),
            secrets: Followed::new(client, clock, tasks, wake),
        }
    }

    /// The pod is gone: stops following what only it needed.
    pub(crate) fn forget(&self, pod: &str) {
        self.config_maps.forget(pod);
        self.secrets.forget(pod);
    }
}

/// Objects of one kind that are followed.
pub(crate) struct Followed<K: Kind> {
    client: Client,
    clock: SharedClock,
    tasks: Tasks,
    wake: Wake,
    objects: Mutex<HashMap<(String, String), Entry<K>>>,
}

struct Entry<K: Kind> {
    informer: Informer<K>,
    tasks: Tasks,
    pods: Arc<Mutex<HashSet<String>>>,
}

impl<K: Kind> Followed<K> {
    fn new(client: &Client, clock: &SharedClock, tasks: &Tasks, wake: &Wake) -> Self {
        Self {
            client: client.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            wake: wake.clone(),
            objects: Mutex::default(),
        }
    }

    /// The informer of one object, followed for `pod` from now on.
    fn follow(&self, pod: &str, namespace: &str, name: &str) -> Informer<K> {
        let mut objects = self.objects.lock();
        let entry = objects.entry((namespace.to_owned(), name.to_owned())).or_insert_with(|| {
            let tasks = self.tasks.child();
            let selection = Selection {
                namespace: namespace.to_owned(),
                fields: format!("metadata.name={name}"),
                ..Selection::default()
            };
            let informer = Informer::start(&self.client, &selection, self.clock.clone(), &tasks);
            let pods: Arc<Mutex<HashSet<String>>> = Arc::default();
            let (users, wake) = (pods.clone(), self.wake.clone());
            informer.on_event(move |_| {
                let users: Vec<String> = users.lock().iter().cloned().collect();
                for user in users {
                    wake(&user);
                }
            });
            Entry { informer, tasks, pods }
        });
        entry.pods.lock().insert(pod.to_owned());
        entry.informer.clone()
    }

    /// The object called `name`, on behalf of the pod with UID `pod`; the pod is woken when it changes. Waits
    /// for the first answer only. Answers 404 as the API server would.
    pub(crate) async fn get(&self, pod: &str, namespace: &str, name: &str) -> Result<Arc<K>, Status> {
        let informer = self.follow(pod, namespace, name);
        if !informer.is_synced() {
            tokio::select! {
                () = informer.synced() => {}
                () = self.clock.sleep(PATIENCE) => {
                    let kind = K::KIND.to_lowercase();
                    return Err(Status::unavailable(format!(
                        "failed to sync {kind} cache: timed out waiting for the condition"
                    )));
                }
            }
        }
        informer.store().find(namespace, name).ok_or_else(|| {
            // Upstream's caches name the singular here.
            Status::not_found(&GroupResource::new(K::GROUP, K::KIND.to_lowercase()), name)
        })
    }

    fn forget(&self, pod: &str) {
        self.objects.lock().retain(|_, entry| {
            let mut pods = entry.pods.lock();
            pods.remove(pod);
            if pods.is_empty() {
                entry.tasks.stop();
            }
            !pods.is_empty()
        });
    }
}
