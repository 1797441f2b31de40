//! Static pods: manifests on the node that run without the API server's say, and their mirrors in the API.
//!
//! `manifest.rs` turns a file into a pod (pure), `directory.rs` follows the files, `mirror.rs` keeps the API's picture of
//! them. Deliberately absent: manifests from a URL.

mod directory;
mod manifest;
pub(crate) mod mirror;

pub(crate) use directory::follow;

use crate::kubelet::Kubelet;
use crate::pod::workers::Workers;
use crate::spec;
use api::k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Annotation of a mirror: the UID of the static pod that it shows.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// `<namespace>/<name>` of a pod.
fn full_name(pod: &Pod) -> String {
    format!("{}/{}", spec::namespace(pod), spec::name(pod))
}

/// Whether a pod of the API only shows a static one.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR))
}

/// The static pods of the node.
#[derive(Default)]
pub(crate) struct Statics {
    wanted: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// Told when a static pod comes or goes, or a mirror changes.
    changed: Notify,
}

impl Statics {
    /// Something about static pods or mirrors has changed.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    fn list(&self) -> Vec<Arc<Pod>> {
        self.wanted.lock().values().cloned().collect()
    }
}

/// Takes over what the files say: pods whose file has gone or changed end, new ones start. One that replaces another
/// under the same name starts when that has ended.
fn apply(kubelet: &Arc<Kubelet>, pods: BTreeMap<String, Arc<Pod>>) {
    let old = std::mem::replace(&mut *kubelet.statics.wanted.lock(), pods.clone());
    for (name, pod) in &old {
        if pods.get(name).is_none_or(|new| spec::uid(new) != spec::uid(pod)) {
            Workers::deleted(kubelet, spec::uid(pod));
        }
    }
    start(kubelet);
    kubelet.statics.look_again();
}

/// Starts what is wanted, does not run yet and has its name to itself.
fn start(kubelet: &Arc<Kubelet>) {
    for pod in kubelet.statics.list() {
        let running = kubelet.workers.list();
        let name = full_name(&pod);
        let taken = running.iter().any(|worker| {
            // Also one whose file has gone and that is still ending.
            worker.uid == spec::uid(&pod) || full_name(&worker.pod()) == name
        });
        if !taken {
            Workers::update(kubelet, pod);
        }
    }
}
