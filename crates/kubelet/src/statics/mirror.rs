//! Mirrors: pods of the API that show static ones, so that users see them. The API has no say over what they show: a
//! mirror that somebody deletes or that is out of date is made anew.

use super::{MIRROR, full_name, is_mirror};
use crate::kubelet::Kubelet;
use crate::spec;
use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use client::{DeleteOptions, Informer};
use machinery::Status;
use std::sync::Arc;
use std::time::Duration;

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

fn shows(mirror: &Pod) -> &str {
    mirror.metadata.annotations.as_ref().and_then(|all| all.get(MIRROR)).map_or("", String::as_str)
}

/// The mirror of a static pod, owned by its node.
fn make(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.insert(MIRROR.to_owned(), spec::uid(pod).to_owned());
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror.status = None;
    mirror
}

async fn delete(kubelet: &Kubelet, mirror: &Pod) -> Result<(), Status> {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: mirror.metadata.uid.clone(),
        ..DeleteOptions::default()
    };
    let pods = kubelet.client.namespaced::<Pod>(spec::namespace(mirror));
    match pods.delete_with(spec::name(mirror), &options).await {
        Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
        _ => Ok(()),
    }
}

/// Static pods that are shown: those of the files, and those that are still ending.
fn shown(kubelet: &Kubelet) -> Vec<Arc<Pod>> {
    let mut pods = kubelet.statics.list();
    for worker in kubelet.workers.list() {
        let pod = worker.pod();
        if spec::is_static(&pod) && !pods.iter().any(|known| full_name(known) == full_name(&pod)) {
            pods.push(pod);
        }
    }
    pods
}

async fn reconcile(kubelet: &Arc<Kubelet>, api: &Informer<Pod>) -> Result<(), Status> {
    let pods = shown(kubelet);
    for mirror in api.store().list().into_iter().filter(|pod| is_mirror(pod)) {
        let of = pods.iter().find(|pod| full_name(pod) == full_name(&mirror));
        let right = of.is_some_and(|pod| spec::uid(pod) == shows(&mirror));
        if right && mirror.metadata.deletion_timestamp.is_none() {
            kubelet.status.mirrored(shows(&mirror), &mirror);
        } else {
            delete(kubelet, &mirror).await?;
        }
    }
    let mut node = None;
    for pod in kubelet.statics.list() {
        if api.store().find(spec::namespace(&pod), spec::name(&pod)).is_some() {
            continue;
        }
        if node.is_none() {
            node = Some(kubelet.client.all::<Node>().get(&kubelet.config.node_name).await?);
        }
        let Some(node) = &node else { continue };
        let pods = kubelet.client.namespaced::<Pod>(spec::namespace(&pod));
        match pods.create(&make(&pod, node)).await {
            Err(status) if !status.is_already_exists() => return Err(status),
            // Its event brings us back.
            _ => {}
        }
    }
    Ok(())
}

/// Keeps mirrors right until dropped. `api` are the pods of this node.
pub(crate) async fn run(kubelet: Arc<Kubelet>, api: Informer<Pod>) {
    if kubelet.config.static_pod_path.is_none() {
        return;
    }
    let watched = kubelet.clone();
    api.on_event(move |event| {
        if is_mirror(event.object()) {
            watched.statics.look_again();
        }
    });
    api.synced().await;
    loop {
        if let Err(status) = reconcile(&kubelet, &api).await {
            tracing::debug!("failed to show a static pod in the API: {status}; trying again");
            kubelet.clock.sleep(RETRY).await;
            continue;
        }
        kubelet.statics.changed.notified().await;
    }
}
