//! The built-in provisioner `windlass.io/local-path`: a directory on the node that the scheduler chose, as a volume with
//! affinity to that node. Its class, `local-path`, is made by whoever sets the cluster up.
//!
//! Deliberately absent for now, and listed in the gaps: removing the directory of a deleted volume from its node.

use crate::context::Context;
use crate::volume_binder::matching::{class_of, request};
use crate::volume_binder::write::reference_to;
use crate::volume_binder::{PROVISIONER, SELECTED_NODE};
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use machinery::Status;
use std::sync::Arc;

/// The provisioner's name.
pub(crate) const NAME: &str = "windlass.io/local-path";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Runs the provisioner.
pub(crate) async fn run(context: Context) {
    let claims = context.informers.informer::<PersistentVolumeClaim>();
    let volumes = context.informers.informer::<PersistentVolume>();
    let classes = context.informers.informer::<StorageClass>();
    let nodes = context.informers.informer::<Node>();
    let queue = context.queue::<ObjectKey>();
    crate::common::owners::enqueue(&claims, &queue);
    let volume_queue = context.queue::<ObjectKey>();
    crate::common::owners::enqueue(&volumes, &volume_queue);
    claims.synced().await;
    volumes.synced().await;
    classes.synced().await;
    nodes.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), claims, volumes, classes, nodes });
    let keeper = worker.clone();
    run_workers("local-path-provisioner", 2, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.provision(&key).await }
    });
    run_workers("local-path-deleter", 1, &volume_queue, &context.tasks, move |key| {
        let worker = keeper.clone();
        async move { worker.delete(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
}

impl Worker {
    async fn provision(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(claim) = self.claims.store().get(key) else { return Ok(Requeue::No) };
        let annotations = claim.metadata.annotations.clone().unwrap_or_default();
        let bound = claim
            .spec
            .as_ref()
            .is_some_and(|spec| spec.volume_name.as_deref().is_some_and(|name| !name.is_empty()));
        let ours = annotations.get(PROVISIONER).map(String::as_str) == Some(NAME);
        if !ours || bound || claim.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::No);
        }
        let class_name = class_of(&claim).unwrap_or("").to_owned();
        let failed = |why: &str| {
            let text = format!("failed to provision volume with StorageClass \"{class_name}\": {why}");
            self.context.recorder.event(&*claim, EventType::Warning, "ProvisioningFailed", text);
        };
        let Some(node) = annotations.get(SELECTED_NODE) else {
            failed("no node is selected; the class needs volumeBindingMode WaitForFirstConsumer");
            return Ok(Requeue::No);
        };
        let Some(node) = self.nodes.store().find("", node) else { return Ok(Requeue::No) };
        let Some(class) = self.classes.store().find("", &class_name) else {
            return Ok(Requeue::No);
        };
        let volume = match volume(&self.context, &claim, &class, &node) {
            Ok(volume) => volume,
            Err(why) => {
                failed(&why);
                return Ok(Requeue::No);
            }
        };
        let name = volume.metadata.name.clone().unwrap_or_default();
        if self.volumes.store().find("", &name).is_some() {
            return Ok(Requeue::No);
        }
        match self.context.client.all::<PersistentVolume>().create(&volume).await {
            Ok(_) => {
                let text = format!("Successfully provisioned volume {name}");
                self.context.recorder.event(&*claim, EventType::Normal, "ProvisioningSucceeded", text);
                Ok(Requeue::No)
            }
            Err(status) if status.is_already_exists() => Ok(Requeue::No),
            Err(status) => {
                failed(&status.message);
                Err(status)
            }
        }
    }

    /// Deletes a released volume of ours whose policy says so.
    async fn delete(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(volume) = self.volumes.store().get(key) else { return Ok(Requeue::No) };
        let ours = volume
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(PROVISIONED_BY))
            .is_some_and(|by| by == NAME);
        let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
        let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        if !ours || !released || policy != Some("Delete") || volume.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::No);
        }
        match self.context.client.all::<PersistentVolume>().delete(&key.name).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(Requeue::No),
        }
    }
}

/// The volume of a claim; the error says what this provisioner cannot do.
fn volume(
    context: &Context,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &Node,
) -> Result<PersistentVolume, String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("only volumeMode Filesystem is supported".to_owned());
    }
    let modes = spec.access_modes.clone().unwrap_or_default();
    if let Some(mode) =
        modes.iter().find(|mode| !["ReadWriteOnce", "ReadWriteOncePod"].contains(&mode.as_str()))
    {
        return Err(format!("access mode {mode} is not supported: a directory is on one node only"));
    }
    let uid = claim.metadata.uid.as_deref().unwrap_or("");
    let name = format!("pvc-{uid}");
    let (own, hostname) = (node.metadata.name.as_deref().unwrap_or(""), node.metadata.labels.as_ref());
    let hostname = hostname.and_then(|labels| labels.get(HOSTNAME)).map_or(own, String::as_str);
    let requirement = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![hostname.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), match_fields: None };
    let path = context.config.local_path_root.join(&name);
    let mut volume = PersistentVolume::default();
    volume.metadata.name = Some(name);
    volume.metadata.annotations = Some([(PROVISIONED_BY.to_owned(), NAME.to_owned())].into());
    volume.spec = Some(PersistentVolumeSpec {
        access_modes: Some(modes),
        capacity: request(claim).map(|size| [("storage".to_owned(), size)].into()),
        claim_ref: Some(reference_to(claim)),
        host_path: Some(HostPathVolumeSource {
            path: path.to_string_lossy().into_owned(),
            type_: Some("DirectoryOrCreate".to_owned()),
        }),
        mount_options: class.mount_options.clone(),
        node_affinity: Some(VolumeNodeAffinity {
            required: Some(NodeSelector { node_selector_terms: vec![term] }),
        }),
        persistent_volume_reclaim_policy: Some(
            class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
        ),
        storage_class_name: class.metadata.name.clone(),
        volume_mode: Some("Filesystem".to_owned()),
        ..PersistentVolumeSpec::default()
    });
    Ok(volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;
    use client::Patch;

    fn phases(world: &World) -> (Option<String>, Option<String>) {
        let claims = world.api.objects::<PersistentVolumeClaim>();
        let volumes = world.api.objects::<PersistentVolume>();
        (
            claims.first().and_then(|claim| claim.status.as_ref()?.phase.clone()),
            volumes.first().and_then(|volume| volume.status.as_ref()?.phase.clone()),
        )
    }

    #[tokio::test]
    async fn a_claim_is_bound_where_its_pod_goes_and_the_volume_goes_with_it() {
        let world = World::new();
        let client = world.client();
        world.start(run);
        world.start(crate::volume_binder::run);
        let mut node = Node::default();
        node.metadata.name = Some("a".to_owned());
        client.all::<Node>().create(&node).await.unwrap();
        let class = r#"{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"local-path","annotations":{
            "storageclass.kubernetes.io/is-default-class":"true"}},"provisioner":"windlass.io/local-path",
            "volumeBindingMode":"WaitForFirstConsumer"}"#;
        client
            .all::<StorageClass>()
            .create(&StorageClass::from_json(class.as_bytes()).unwrap())
            .await
            .unwrap();
        let claim = r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data"},"spec":{
            "accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#;
        let claims = client.namespaced::<PersistentVolumeClaim>("default");
        claims.create(&PersistentVolumeClaim::from_json(claim.as_bytes()).unwrap()).await.unwrap();
        world
            .until("the claim waits for a pod", || {
                let events = world.api.objects::<k8s_openapi::api::core::v1::Event>();
                events.iter().any(|event| event.reason.as_deref() == Some("WaitForFirstConsumer"))
            })
            .await;
        // What the scheduler does.
        let patch = serde_json::json!({"metadata": {"annotations": {SELECTED_NODE: "a"}}}).to_string();
        claims.patch("data", Patch::Merge(patch.into())).await.unwrap();
        let bound = (Some("Bound".to_owned()), Some("Bound".to_owned()));
        world.until("both are bound", || phases(&world) == bound).await;
        let volume = &world.api.objects::<PersistentVolume>()[0];
        let path = volume.spec.as_ref().unwrap().host_path.as_ref().unwrap().path.clone();
        assert!(path.starts_with("/var/lib/windlass/local-path/pvc-"), "{path}");
        claims.delete("data").await.unwrap();
        world.until("the volume is deleted", || world.api.objects::<PersistentVolume>().is_empty()).await;
    }

    #[tokio::test]
    async fn a_static_volume_is_bound_and_kept() {
        let world = World::new();
        let client = world.client();
        world.start(crate::volume_binder::run);
        let volume = r#"{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"v"},"spec":{"accessModes":["ReadWriteOnce"],
            "capacity":{"storage":"5Gi"},"hostPath":{"path":"/x"},"persistentVolumeReclaimPolicy":"Retain"}}"#;
        client
            .all::<PersistentVolume>()
            .create(&PersistentVolume::from_json(volume.as_bytes()).unwrap())
            .await
            .unwrap();
        let claim = r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"c"},"spec":{"storageClassName":"",
            "accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#;
        let claims = client.namespaced::<PersistentVolumeClaim>("default");
        claims.create(&PersistentVolumeClaim::from_json(claim.as_bytes()).unwrap()).await.unwrap();
        let bound = (Some("Bound".to_owned()), Some("Bound".to_owned()));
        world.until("both are bound", || phases(&world) == bound).await;
        claims.delete("c").await.unwrap();
        world.until("the volume is released", || phases(&world) == (None, Some("Released".to_owned()))).await;
    }
}
