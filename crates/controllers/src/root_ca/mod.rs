//! Publishes the cluster's CA bundle as ConfigMap `kube-root-ca.crt` in every namespace.

use crate::common::owners::enqueue;
use crate::context::Context;
use crate::service_account::{absorb, is_active};
use client::{ObjectKey, Requeue, Selection, run_workers};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use std::collections::BTreeMap;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
    such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
    Kubernetes clusters.";

/// Runs the controller; without a bundle there is nothing to do.
pub(crate) async fn run(context: Context) {
    if context.config.root_ca.is_empty() {
        return;
    }
    let bundle = String::from_utf8_lossy(&context.config.root_ca).into_owned();
    let namespaces = context.informers.informer::<Namespace>();
    let maps =
        context.informers.informer_of::<ConfigMap>(&Selection::fields(&format!("metadata.name={NAME}")));
    let queue = context.queue::<ObjectKey>();
    enqueue(&namespaces, &queue);
    let changed = queue.clone();
    maps.on_event(move |event| {
        changed.add(ObjectKey::cluster(event.object().metadata.namespace.as_deref().unwrap_or("")));
    });
    namespaces.synced().await;
    maps.synced().await;
    let worker = context.clone();
    run_workers("root-ca-cert-publisher", 1, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, namespaces, maps) = (worker.clone(), namespaces.clone(), maps.clone());
        let wanted = desired(&key.name, &bundle);
        async move {
            if !namespaces.store().get(&key).is_some_and(|ns| is_active(&ns)) {
                return Ok(Requeue::No);
            }
            let api = context.client.namespaced::<ConfigMap>(&key.name);
            match maps.store().find(&key.name, NAME) {
                None => absorb(api.create(&wanted).await.map(drop)),
                Some(found) if found.data == wanted.data && has_description(&found) => Ok(Requeue::No),
                Some(found) => {
                    let mut map = ConfigMap::clone(&found);
                    map.data = wanted.data;
                    let annotations = map.metadata.annotations.get_or_insert_default();
                    annotations.extend(wanted.metadata.annotations.unwrap_or_default());
                    absorb(api.update(&map).await.map(drop))
                }
            }
        }
    });
    context.tasks.stopping().cancelled().await;
}

fn has_description(map: &ConfigMap) -> bool {
    let annotations = map.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key("kubernetes.io/description"))
}

fn desired(namespace: &str, bundle: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(NAME.to_owned());
    map.metadata.namespace = Some(namespace.to_owned());
    map.metadata.annotations =
        Some(BTreeMap::from([("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned())]));
    map.data = Some(BTreeMap::from([("ca.crt".to_owned(), bundle.to_owned())]));
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;

    #[tokio::test]
    async fn puts_back_what_somebody_changed() {
        let mut world = World::new();
        world.config.root_ca = b"PEM".to_vec();
        let client = world.client();
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("web".to_owned());
        client.all::<Namespace>().create(&namespace).await.unwrap();
        world.start(run);
        let right =
            || world.api.objects::<ConfigMap>().iter().any(|map| map.data == desired("web", "PEM").data);
        world.until("the map is made", right).await;
        let maps = client.namespaced::<ConfigMap>("web");
        maps.patch(NAME, client::Patch::Merge(r#"{"data":{"ca.crt":"x","y":"z"}}"#.into())).await.unwrap();
        world.until("the map is put right", right).await;
    }
}
