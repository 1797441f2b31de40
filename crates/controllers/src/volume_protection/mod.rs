//! Keeps claims that pods use, and volumes that claims use, from being deleted: a finalizer holds them until nobody does.

use crate::common::owners::enqueue;
use crate::common::pods;
use crate::context::Context;
use api::Kind;
use client::{Api, Informer, ListOptions, ObjectKey, Patch, Requeue, run_workers};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::Status;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// The claims that a pod uses, generic ephemeral volumes included.
pub(crate) fn claims_of(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let claim = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
            claim.or_else(|| volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name)))
        })
        .collect()
}

/// Whether a pod holds a claim: it has a node and has not run to its end.
fn holds(pod: &Pod, claim: &str) -> bool {
    !pods::is_terminal(pod)
        && !pods::node_of(pod).is_empty()
        && claims_of(pod).iter().any(|name| name == claim)
}

/// Runs the protection of claims.
pub(crate) async fn run_claims(context: Context) {
    let claims = context.informers.informer::<PersistentVolumeClaim>();
    let pods = context.informers.informer::<Pod>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&claims, &queue);
    let released = queue.clone();
    pods.on_event(move |event| {
        if event.is_deleted() || pods::is_terminal(event.object()) {
            let namespace = event.object().metadata.namespace.as_deref().unwrap_or("");
            for claim in claims_of(event.object()) {
                released.add(ObjectKey::new(namespace, &claim));
            }
        }
    });
    claims.synced().await;
    pods.synced().await;
    let worker = context.clone();
    run_workers("pvc-protection-controller", 1, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, claims, pods) = (worker.clone(), claims.clone(), pods.clone());
        async move {
            let Some(claim) = claims.store().get(&key) else { return Ok(Requeue::No) };
            let api = context.client.namespaced::<PersistentVolumeClaim>(&key.namespace);
            let used = || claim_is_used(&context, &pods, &key);
            protect(&api, &claim.metadata, CLAIM_FINALIZER, used).await
        }
    });
    context.tasks.stopping().cancelled().await;
}

/// Whether a pod holds the claim, by the cache and, because letting go cannot be undone, by the API itself.
async fn claim_is_used(context: &Context, pods: &Informer<Pod>, key: &ObjectKey) -> Result<bool, Status> {
    if pods.store().list_in(&key.namespace).iter().any(|pod| holds(pod, &key.name)) {
        return Ok(true);
    }
    let live = context.client.namespaced::<Pod>(&key.namespace).list(&ListOptions::default()).await?;
    Ok(live.items.iter().any(|pod| holds(pod, &key.name)))
}

/// Runs the protection of volumes.
pub(crate) async fn run_volumes(context: Context) {
    let volumes = context.informers.informer::<PersistentVolume>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&volumes, &queue);
    volumes.synced().await;
    let worker = context.clone();
    run_workers("pv-protection-controller", 1, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, volumes) = (worker.clone(), volumes.clone());
        async move {
            let Some(volume) = volumes.store().get(&key) else { return Ok(Requeue::No) };
            let bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
            let api = context.client.all::<PersistentVolume>();
            protect(&api, &volume.metadata, VOLUME_FINALIZER, || async move { Ok(bound) }).await
        }
    });
    context.tasks.stopping().cancelled().await;
}

/// Adds the finalizer to a living object; removes it from a deleted one that nobody uses.
async fn protect<K: Kind, F, Fut>(
    api: &Api<K>,
    meta: &ObjectMeta,
    finalizer: &str,
    is_used: F,
) -> Result<Requeue, Status>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<bool, Status>>,
{
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let has = finalizers.iter().any(|known| known == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (false, false) => finalizers.push(finalizer.to_owned()),
        (true, true) if !is_used().await? => finalizers.retain(|known| known != finalizer),
        _ => return Ok(Requeue::No),
    }
    let patch = serde_json::json!({"metadata": {
        "resourceVersion": meta.resource_version, "finalizers": finalizers,
    }});
    match api.patch(meta.name.as_deref().unwrap_or(""), Patch::Merge(patch.to_string().into())).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(Requeue::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;

    #[tokio::test]
    async fn a_claim_stays_as_long_as_a_pod_uses_it() {
        let world = World::new();
        let client = world.client();
        let claims = client.namespaced::<PersistentVolumeClaim>("default");
        let claim = r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data"},"spec":{
            "accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#;
        claims.create(&PersistentVolumeClaim::from_json(claim.as_bytes()).unwrap()).await.unwrap();
        let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"nodeName":"n",
            "containers":[{"name":"main","image":"image:1"}],
            "volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"data"}}]}}"#;
        let pods = client.namespaced::<Pod>("default");
        pods.create(&Pod::from_json(pod.as_bytes()).unwrap()).await.unwrap();
        world.start(run_claims);
        let finalizers = || {
            let all = world.api.objects::<PersistentVolumeClaim>();
            all.first().and_then(|claim| claim.metadata.finalizers.clone()).unwrap_or_default().len()
        };
        world.until("the claim is protected", || finalizers() == 1).await;
        claims.delete("data").await.unwrap();
        assert_eq!(world.api.objects::<PersistentVolumeClaim>().len(), 1);
        pods.patch_status("p", Patch::Merge(r#"{"status":{"phase":"Succeeded"}}"#.into())).await.unwrap();
        world.until("the claim is gone", || world.api.objects::<PersistentVolumeClaim>().is_empty()).await;
    }
}
