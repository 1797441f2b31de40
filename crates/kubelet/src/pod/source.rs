//! Where pods come from: the API's pods bound to this node, and manifests on it (`statics`).

use crate::kubelet::Kubelet;
use crate::pod::gc;
use crate::pod::workers::Workers;
use crate::spec;
use crate::statics;
use api::k8s_openapi::api::core::v1::Pod;
use client::{Event, Informer, Selection};
use std::sync::Arc;

/// Follows the pods of the node until dropped. Once the first list is complete and the manifests are read, what the
/// runtime knows beyond them is ended.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let selection = Selection::fields(&format!("spec.nodeName={}", kubelet.config.node_name));
    let informer: Informer<Pod> =
        Informer::start(&kubelet.client, &selection, kubelet.clock.clone(), &kubelet.tasks);
    let mut events = informer.subscribe();
    let (read, manifests) = tokio::sync::oneshot::channel();
    let follow = statics::follow(kubelet.clone(), move || {
        // Who waits for it may have gone.
        let _ = read.send(());
    });
    kubelet.tasks.spawn_until_stopped("static pods", follow);
    kubelet.tasks.spawn_until_stopped("mirror pods", statics::mirror::run(kubelet.clone(), informer.clone()));
    let known = async {
        informer.synced().await;
        // Whoever reads the manifests lives as long as the kubelet.
        let _ = manifests.await;
    };
    tokio::pin!(known);
    let mut cleaned = false;
    loop {
        tokio::select! {
            biased;
            event = events.recv() => {
                let Some(event) = event else { return };
                apply(&kubelet, event);
            }
            () = &mut known, if !cleaned => {
                cleaned = true;
                gc::orphans(&kubelet).await;
            }
        }
    }
}

fn apply(kubelet: &Arc<Kubelet>, event: Event<Pod>) {
    if statics::is_mirror(event.object()) {
        // It only shows what a manifest says.
        return;
    }
    match event {
        Event::Added(pod) => Workers::update(kubelet, pod),
        Event::Updated { old, new } => {
            // Another pod under the same name: the old one is gone.
            if spec::uid(&old) != spec::uid(&new) {
                Workers::deleted(kubelet, spec::uid(&old));
            }
            Workers::update(kubelet, new);
        }
        Event::Deleted(pod) => {
            Workers::deleted(kubelet, spec::uid(&pod));
        }
    }
}
