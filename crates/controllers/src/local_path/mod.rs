//! The built-in provisioner `windlass.io/local-path`: a directory on the node that the scheduler chose, as a volume with
//! affinity to that node. Its class, `local-path`, is made by whoever sets the cluster up.
//!
//! Directories are made (open to every user) and removed by short-lived pods on the node, see `helper.rs`. Deliberately
//! absent: holding a volume to its size, because a directory has none.

mod helper;
mod reclaim;
mod volume;

use crate::context::Context;
use crate::volume_binder::matching::class_of;
use crate::volume_binder::{PROVISIONER, SELECTED_NODE};
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use helper::{Directory, Helpers, Step, Work};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use machinery::Status;
use reclaim::Reclaimer;
use std::sync::Arc;

/// The provisioner's name.
pub(crate) const NAME: &str = "windlass.io/local-path";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Holds a deleted volume until its directory is gone; the name that external provisioners share (KEP-2644).
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Runs the provisioner.
pub(crate) async fn run(context: Context) {
    let claims = context.informers.informer::<PersistentVolumeClaim>();
    let volumes = context.informers.informer::<PersistentVolume>();
    let classes = context.informers.informer::<StorageClass>();
    let nodes = context.informers.informer::<Node>();
    let helpers = Helpers::new(&context);
    let queue = context.queue::<ObjectKey>();
    let volume_queue = context.queue::<ObjectKey>();
    crate::common::owners::enqueue(&volumes, &volume_queue);
    let (changed, changed_volumes) = (queue.clone(), volume_queue.clone());
    claims.on_event(move |event| {
        let claim = event.object();
        changed.add(ObjectKey::of(&claim.metadata));
        if event.is_deleted() {
            // A directory may have been made for it and no volume yet.
            changed_volumes.add(ObjectKey::new("", &volume::name(claim)));
        }
    });
    let (changed, changed_volumes) = (queue.clone(), volume_queue.clone());
    helpers.on_change(move |volume, claim| {
        changed_volumes.add(ObjectKey::new("", volume));
        if let Some((namespace, name)) = claim.split_once('/') {
            changed.add(ObjectKey::new(namespace, name));
        }
    });
    claims.synced().await;
    volumes.synced().await;
    classes.synced().await;
    nodes.synced().await;
    helpers.synced().await;
    let reclaimer = Reclaimer {
        context: context.clone(),
        helpers: helpers.clone(),
        claims: claims.clone(),
        volumes: volumes.clone(),
        nodes: nodes.clone(),
    };
    let reclaimer = Arc::new(reclaimer);
    let worker = Arc::new(Worker { context: context.clone(), helpers, claims, volumes, classes, nodes });
    run_workers("local-path-provisioner", 2, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.provision(&key).await }
    });
    run_workers("local-path-deleter", 1, &volume_queue, &context.tasks, move |key| {
        let reclaimer = reclaimer.clone();
        async move { reclaimer.reconcile(&key).await }
    });
    context.tasks.stopping().cancelled().await;
}

struct Worker {
    context: Context,
    helpers: Helpers,
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
        if let Err(why) = volume::check(&claim) {
            failed(&why);
            return Ok(Requeue::No);
        }
        let root = &self.context.config.local_path_root;
        let volume = volume::of(&claim, &class, &node, root);
        let name = volume.metadata.name.clone().unwrap_or_default();
        if self.volumes.store().find("", &name).is_some() {
            return Ok(Requeue::No);
        }
        let node = node.metadata.name.as_deref().unwrap_or("");
        let claimed = format!("{}/{}", key.namespace, key.name);
        let directory = Directory { volume: &name, node, claim: claimed, root };
        match self.helpers.step(Work::Make, &directory).await? {
            Step::Waiting => return Ok(Requeue::No),
            Step::Failed(why) => {
                let why = format!("failed to make its directory on node {node}: {why}");
                failed(&why);
                return Err(Status::internal(why));
            }
            Step::Done => {}
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use api::Kind;
    use client::{DeleteOptions, Patch};
    use k8s_openapi::api::core::v1::Pod;

    /// Waits for the helper and does what its node would: it succeeds.
    async fn helper_ends(world: &World, verb: &str) -> Pod {
        let find = || {
            let pods = world.api.objects::<Pod>();
            let name = format!("helper-pod-{verb}-");
            pods.into_iter().find(|pod| pod.metadata.name.as_deref().is_some_and(|n| n.starts_with(&name)))
        };
        world.until("there is a helper", || find().is_some()).await;
        let pod = Pod::clone(&find().unwrap());
        let patch = Patch::Merge(r#"{"status":{"phase":"Succeeded"}}"#.into());
        let api = world.client().namespaced::<Pod>(helper::NAMESPACE);
        api.patch_status(pod.metadata.name.as_deref().unwrap(), patch).await.unwrap();
        pod
    }

    /// Waits until the helper is deleted, and finishes that as a server does at once for pods that have ended.
    async fn helper_goes(world: &World) {
        let told = || world.api.objects::<Pod>().iter().all(|pod| pod.metadata.deletion_timestamp.is_some());
        world.until("the helper is deleted", told).await;
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        for pod in world.api.objects::<Pod>() {
            let api = world.client().namespaced::<Pod>(helper::NAMESPACE);
            api.delete_with(pod.metadata.name.as_deref().unwrap(), &now).await.unwrap();
        }
    }

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
        // The directory is there before the volume is.
        let made = helper_ends(&world, "make").await;
        assert_eq!(made.spec.as_ref().unwrap().node_name.as_deref(), Some("a"));
        let bound = (Some("Bound".to_owned()), Some("Bound".to_owned()));
        world.until("both are bound", || phases(&world) == bound).await;
        helper_goes(&world).await;
        let volume = &world.api.objects::<PersistentVolume>()[0];
        let path = volume.spec.as_ref().unwrap().local.as_ref().unwrap().path.clone();
        assert!(path.starts_with("/var/lib/windlass/local-path/pvc-"), "{path}");
        // And is gone before the volume is, whoever deletes that first.
        claims.delete("data").await.unwrap();
        client.all::<PersistentVolume>().delete(&volume.metadata.name.clone().unwrap()).await.unwrap();
        world.until("a helper removes", || !world.api.objects::<Pod>().is_empty()).await;
        assert_eq!(world.api.objects::<PersistentVolume>().len(), 1);
        helper_ends(&world, "remove").await;
        world.until("the volume is deleted", || world.api.objects::<PersistentVolume>().is_empty()).await;
        helper_goes(&world).await;
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
