//! Makes the claims of pods' generic ephemeral volumes; the garbage collector removes them with the pod (KEP-1698).

use crate::common::owners::{controller_reference, enqueue, is_controlled_by};
use crate::common::pods;
use crate::context::Context;
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimTemplate, Pod};
use machinery::Status;
use std::sync::Arc;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let pods = context.informers.informer::<Pod>();
    let claims = context.informers.informer::<PersistentVolumeClaim>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&pods, &queue);
    pods.synced().await;
    claims.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), pods, claims });
    run_workers("ephemeral-volume-controller", 2, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await.map(|()| Requeue::No) }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), Status> {
        let Some(pod) = self.pods.store().get(key) else { return Ok(()) };
        if pods::is_terminating(&pod) || pods::is_terminal(&pod) {
            return Ok(());
        }
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let template =
                volume.ephemeral.as_ref().and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
            let Some(template) = template else { continue };
            let name = format!("{}-{}", key.name, volume.name);
            match self.claims.store().find(&key.namespace, &name) {
                Some(claim) if is_controlled_by(&claim.metadata, &pod.metadata) => {}
                Some(_) => self.refuse(&pod, &volume.name, &name),
                None => self.create(&pod, template, &name).await?,
            }
        }
        Ok(())
    }

    /// Somebody else's claim has the name: the pod must not get its data.
    fn refuse(&self, pod: &Pod, volume: &str, claim: &str) {
        let text = format!(
            "failed to make the claim of volume {volume}: PVC {claim} was not created for this pod (pod is not owner)"
        );
        self.context.recorder.event(pod, EventType::Warning, "EphemeralVolumeConflict", text);
    }

    async fn create(
        &self,
        pod: &Pod,
        template: &PersistentVolumeClaimTemplate,
        name: &str,
    ) -> Result<(), Status> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let meta = template.metadata.clone().unwrap_or_default();
        let mut claim =
            PersistentVolumeClaim { spec: Some(template.spec.clone()), ..PersistentVolumeClaim::default() };
        claim.metadata.name = Some(name.to_owned());
        claim.metadata.namespace = Some(namespace.to_owned());
        claim.metadata.labels = meta.labels;
        claim.metadata.annotations = meta.annotations;
        claim.metadata.owner_references = Some(vec![controller_reference(pod)]);
        match self.context.client.namespaced::<PersistentVolumeClaim>(namespace).create(&claim).await {
            Err(status) if status.is_already_exists() || status.is_not_found() => Ok(()),
            Err(status) if crate::common::pod_control::is_namespace_terminating(&status) => Ok(()),
            Err(status) => {
                let text = format!("failed to make the claim {name}: {status}");
                self.context.recorder.event(pod, EventType::Warning, "FailedCreate", text);
                Err(status)
            }
            Ok(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;

    #[tokio::test]
    async fn claims_are_made_for_the_pod_alone() {
        let world = World::new();
        let client = world.client();
        let claims = client.namespaced::<PersistentVolumeClaim>("default");
        let foreign = r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"p-taken"},"spec":{
            "accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#;
        claims.create(&PersistentVolumeClaim::from_json(foreign.as_bytes()).unwrap()).await.unwrap();
        world.start(run);
        let template =
            r#"{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#;
        let pod = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"main","image":"image:1"}}],
            "volumes":[{{"name":"new","ephemeral":{{"volumeClaimTemplate":{template}}}}},
            {{"name":"taken","ephemeral":{{"volumeClaimTemplate":{template}}}}}]}}}}"#
        );
        let pod = client
            .namespaced::<Pod>("default")
            .create(&Pod::from_json(pod.as_bytes()).unwrap())
            .await
            .unwrap();
        let owned = || {
            let all = world.api.objects::<PersistentVolumeClaim>();
            let ours = all.iter().filter(|claim| is_controlled_by(&claim.metadata, &pod.metadata));
            ours.filter_map(|claim| claim.metadata.name.clone()).collect::<Vec<_>>()
        };
        world.until("the claim is made", || owned() == ["p-new"]).await;
        let refused = || {
            let events = world.api.objects::<k8s_openapi::api::core::v1::Event>();
            events.iter().any(|event| event.reason.as_deref() == Some("EphemeralVolumeConflict"))
        };
        world.until("the conflict is told", refused).await;
    }
}
