//! How many pods the controllers of some pods want together.

use crate::common::owners::{controller_of, refers_to};
use crate::context::Context;
use api::Kind;
use client::Informer;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use machinery::GroupVersion;
use std::collections::HashMap;
use std::sync::Arc;

pub(super) struct Controllers {
    context: Context,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication: Informer<ReplicationController>,
}

impl Controllers {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            deployments: context.informers.informer(),
            replica_sets: context.informers.informer(),
            stateful_sets: context.informers.informer(),
            replication: context.informers.informer(),
        }
    }

    pub(super) async fn synced(&self) {
        self.deployments.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.replication.synced().await;
    }

    /// Calls `wake` with the namespace of every workload whose size changes.
    pub(super) fn on_scale(&self, wake: impl Fn(&str) + Send + Sync + 'static) {
        let wake = Arc::new(wake);
        on_generation(&self.deployments, wake.clone());
        on_generation(&self.replica_sets, wake.clone());
        on_generation(&self.stateful_sets, wake.clone());
        on_generation(&self.replication, wake);
    }

    /// The sum of the sizes of all controllers; an error says for which pod there is none.
    pub(super) async fn expected(&self, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let mut sizes: HashMap<String, i32> = HashMap::new();
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or("");
            let none = || format!("found no controllers for pod {name:?}");
            let owner = controller_of(&pod.metadata).ok_or_else(none)?;
            if sizes.contains_key(&owner.uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
            let (uid, size) = self.size_of(namespace, owner).await.ok_or_else(none)?;
            // Several ReplicaSets of one deployment count once.
            sizes.insert(uid, size);
        }
        Ok(sizes.values().sum())
    }

    async fn size_of(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        if refers_to::<ReplicaSet>(owner) {
            let set = self.replica_sets.store().find(namespace, &owner.name)?;
            if let Some(above) = controller_of(&set.metadata).filter(|above| refers_to::<Deployment>(above)) {
                let deployment = self.deployments.store().find(namespace, &above.name)?;
                return Some((above.uid.clone(), deployment.spec.as_ref()?.replicas.unwrap_or(1)));
            }
            return Some((owner.uid.clone(), set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        if refers_to::<StatefulSet>(owner) {
            let set = self.stateful_sets.store().find(namespace, &owner.name)?;
            return Some((owner.uid.clone(), set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        if refers_to::<ReplicationController>(owner) {
            let controller = self.replication.store().find(namespace, &owner.name)?;
            return Some((owner.uid.clone(), controller.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        self.custom_size(namespace, owner).await
    }

    /// The size of any other controller, by its `scale`.
    async fn custom_size(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        let group = GroupVersion::parse(&owner.api_version)?.group;
        let resource = self.context.resources.of_kind(&group, &owner.kind)?;
        let target =
            api::transport::Target::all(resource.gvr).in_namespace(namespace).named(&owner.name).sub("scale");
        let scale = self.context.client.transport().get(&target).await.ok()?;
        let scale: serde_json::Value = serde_json::from_slice(scale.raw()).ok()?;
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        Some((owner.uid.clone(), i32::try_from(replicas).ok()?))
    }
}

fn on_generation<K: Kind>(informer: &Informer<K>, wake: Arc<impl Fn(&str) + Send + Sync + 'static>) {
    informer.on_event(move |event| {
        let meta = event.object().meta();
        if event.old().is_none_or(|old| old.meta().generation != meta.generation) {
            wake(meta.namespace.as_deref().unwrap_or(""));
        }
    });
}
