//! The table of pod workers.

use crate::kubelet::Kubelet;
use crate::pod::worker::Worker;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Workers by pod UID.
pub(crate) struct Workers {
    table: Mutex<HashMap<String, Arc<Worker>>>,
    /// Told when a pod is gone for good.
    pub(crate) ended: Notify,
}

impl Workers {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self { table: Mutex::default(), ended: Notify::new() }
    }

    /// The worker of a pod.
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Worker>> {
        self.table.lock().get(uid).cloned()
    }

    /// Every worker.
    pub(crate) fn list(&self) -> Vec<Arc<Worker>> {
        self.table.lock().values().cloned().collect()
    }

    /// The pod called `name`, the newest first when several bear the name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Worker>> {
        let mut found: Vec<_> = self
            .list()
            .into_iter()
            .filter(|w| {
                let pod = w.pod();
                spec::namespace(&pod) == namespace && spec::name(&pod) == name
            })
            .collect();
        found.sort_by_key(|w| (w.stage(), std::cmp::Reverse(w.pod().metadata.creation_timestamp.clone())));
        found.into_iter().next()
    }

    /// Wakes the worker of a pod.
    pub(crate) fn wake(&self, uid: &str) {
        if let Some(worker) = self.get(uid) {
            worker.wake();
        }
    }

    /// Wakes all workers.
    pub(crate) fn wake_all(&self) {
        for worker in self.list() {
            worker.wake();
        }
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.table.lock().remove(uid);
        self.ended.notify_one();
    }

    /// A new or changed pod.
    pub(crate) fn update(kubelet: &Arc<Kubelet>, pod: Arc<Pod>) {
        if let Some(worker) = kubelet.workers.get(spec::uid(&pod)) {
            worker.update(pod);
            return;
        }
        Self::start(kubelet, pod, false);
    }

    /// Starts a worker; `deleted` when only the runtime still knows the pod.
    pub(crate) fn start(kubelet: &Arc<Kubelet>, pod: Arc<Pod>, deleted: bool) {
        let worker = Arc::new(Worker::new(pod, deleted));
        kubelet.workers.table.lock().insert(worker.uid.clone(), worker.clone());
        kubelet.tasks.spawn_until_stopped("pod worker", worker.run(kubelet.clone()));
    }

    /// A pod that the API no longer has.
    pub(crate) fn deleted(kubelet: &Arc<Kubelet>, uid: &str) {
        if let Some(worker) = kubelet.workers.get(uid) {
            worker.deleted();
        }
    }
}
