//! Binds claims to volumes, and follows what becomes of both. Volumes that do not exist yet are asked for from the class's
//! provisioner, which acts on an annotation of the claim.
//!
//! Deliberately absent: the `Recycle` policy (deprecated upstream) and making or deleting volumes.

pub(crate) mod matching;
pub(crate) mod write;

use crate::context::Context;
use client::{EventType, Informer, ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use machinery::Status;
use matching::{class_of, is_reserved_for};
use std::fmt;
use std::sync::Arc;

pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub(crate) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Claim(ObjectKey),
    Volume(ObjectKey),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(key) => write!(f, "volume {key}"),
        }
    }
}

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let claims = context.informers.informer::<PersistentVolumeClaim>();
    let volumes = context.informers.informer::<PersistentVolume>();
    let classes = context.informers.informer::<StorageClass>();
    let queue = context.queue::<Task>();
    let (changed, all) = (queue.clone(), volumes.clone());
    claims.on_event(move |event| {
        let meta = &event.object().metadata;
        changed.add(Task::Claim(ObjectKey::of(meta)));
        // The claim's volume is bound or released.
        for volume in all.store().list() {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            if reference.is_some_and(|r| r.name == meta.name && r.namespace == meta.namespace) {
                changed.add(Task::Volume(ObjectKey::of(&volume.metadata)));
            }
        }
    });
    let (changed, all) = (queue.clone(), claims.clone());
    volumes.on_event(move |event| {
        let volume = event.object();
        changed.add(Task::Volume(ObjectKey::of(&volume.metadata)));
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        if let Some(ObjectReference { name: Some(name), namespace: Some(namespace), .. }) = reference {
            changed.add(Task::Claim(ObjectKey::new(namespace, name)));
            return;
        }
        for claim in all.store().list().iter().filter(|claim| phase(claim) != "Bound") {
            changed.add(Task::Claim(ObjectKey::of(&claim.metadata)));
        }
    });
    let (changed, all) = (queue.clone(), claims.clone());
    classes.on_event(move |_| {
        for claim in all.store().list().iter().filter(|claim| phase(claim) != "Bound") {
            changed.add(Task::Claim(ObjectKey::of(&claim.metadata)));
        }
    });
    claims.synced().await;
    volumes.synced().await;
    classes.synced().await;
    let worker = Arc::new(Worker { context: context.clone(), claims, volumes, classes });
    // One worker: two claims must not choose the same volume.
    run_workers("persistentvolume-binder-controller", 1, &queue, &context.tasks, move |task| {
        let worker = worker.clone();
        async move {
            match &task {
                Task::Claim(key) => worker.claim(key).await,
                Task::Volume(key) => worker.volume(key).await,
            }
            .map(|()| Requeue::No)
        }
    });
    context.tasks.stopping().cancelled().await;
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

struct Worker {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
}

impl Worker {
    fn tell(&self, claim: &PersistentVolumeClaim, kind: EventType, reason: &str, text: impl Into<String>) {
        self.context.recorder.event(claim, kind, reason, text);
    }

    async fn claim(&self, key: &ObjectKey) -> Result<(), Status> {
        let Some(claim) = self.claims.store().get(key) else { return Ok(()) };
        let volume_name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        if volume_name.is_empty() {
            return self.unbound(&claim).await;
        }
        match self.volumes.store().find("", &volume_name) {
            None if phase(&claim) == "Bound" => self.lost(&claim, &volume_name).await,
            // Named by its user before the volume exists.
            None => write::phase(&self.context, &claim, "Pending").await,
            Some(volume) => match volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) {
                Some(reference) if !is_reserved_for(reference, &claim) && phase(&claim) == "Bound" => {
                    let text = format!(
                        "Bound claim has lost reference to PersistentVolume. Data on the volume is lost! Volume {volume_name}"
                    );
                    self.tell(&claim, EventType::Warning, "ClaimMisbound", text);
                    write::phase(&self.context, &claim, "Lost").await
                }
                Some(reference) if !is_reserved_for(reference, &claim) => {
                    let text = format!("volume {volume_name:?} already bound to a different claim.");
                    self.tell(&claim, EventType::Warning, "FailedBinding", text);
                    write::phase(&self.context, &claim, "Pending").await
                }
                _ => write::bind(&self.context, &claim, &volume).await,
            },
        }
    }

    async fn lost(&self, claim: &PersistentVolumeClaim, volume: &str) -> Result<(), Status> {
        // The cache may be behind: ask before saying that data is lost.
        if self.context.client.all::<PersistentVolume>().get_opt(volume).await?.is_some() {
            return Ok(());
        }
        let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        self.tell(claim, EventType::Warning, "ClaimLost", text);
        write::phase(&self.context, claim, "Lost").await
    }

    async fn unbound(&self, claim: &Arc<PersistentVolumeClaim>) -> Result<(), Status> {
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let Some(class_name) = class_of(claim) else {
            if let Some(default) = self.default_class() {
                return write::class(&self.context, claim, &default).await;
            }
            return self.bind_or_provision(claim, None).await;
        };
        if class_name.is_empty() {
            return self.bind_or_provision(claim, None).await;
        }
        let class = self.classes.store().find("", class_name);
        self.bind_or_provision(claim, Some((class_name, class))).await
    }

    /// The newest default class.
    fn default_class(&self) -> Option<String> {
        let is_default = |class: &Arc<StorageClass>| {
            let annotations = class.metadata.annotations.as_ref();
            DEFAULT_CLASS
                .iter()
                .any(|key| annotations.and_then(|a| a.get(*key)).is_some_and(|value| value == "true"))
        };
        let all = self.classes.store().list();
        let newest = all
            .iter()
            .filter(|class| is_default(class))
            .max_by_key(|class| class.metadata.creation_timestamp.as_ref().map(|t| t.0));
        newest.and_then(|class| class.metadata.name.clone())
    }

    async fn bind_or_provision(
        &self,
        claim: &Arc<PersistentVolumeClaim>,
        class: Option<(&str, Option<Arc<StorageClass>>)>,
    ) -> Result<(), Status> {
        let waits = class.as_ref().and_then(|(_, class)| class.as_ref()?.volume_binding_mode.as_deref())
            == Some("WaitForFirstConsumer");
        let volumes = self.volumes.store().list();
        if let Some(volume) = matching::find(claim, &volumes, waits) {
            return write::bind(&self.context, claim, volume).await;
        }
        if waits && annotation(claim, SELECTED_NODE).is_none() {
            let text = "waiting for first consumer to be created before binding";
            self.tell(claim, EventType::Normal, "WaitForFirstConsumer", text);
            return write::phase(&self.context, claim, "Pending").await;
        }
        match class {
            None => {
                let text = "no persistent volumes available for this claim and no storage class is set";
                self.tell(claim, EventType::Normal, "FailedBinding", text);
            }
            Some((name, None)) => {
                let text = format!("storageclass.storage.k8s.io \"{name}\" not found");
                self.tell(claim, EventType::Warning, "ProvisioningFailed", text);
            }
            Some((_, Some(class))) if class.provisioner == "kubernetes.io/no-provisioner" => {
                let text = "no persistent volumes available for this claim and no storage class is set";
                self.tell(claim, EventType::Normal, "FailedBinding", text);
            }
            Some((_, Some(class))) => {
                let provisioner = &class.provisioner;
                if annotation(claim, PROVISIONER) != Some(provisioner) {
                    write::provisioner(&self.context, claim, provisioner).await?;
                }
                if provisioner != crate::local_path::NAME {
                    let text = format!(
                        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
                         system administrator. If volume creation is delayed, please verify that the provisioner is running \
                         and correctly registered."
                    );
                    self.tell(claim, EventType::Normal, "ExternalProvisioning", text);
                }
            }
        }
        write::phase(&self.context, claim, "Pending").await
    }

    async fn volume(&self, key: &ObjectKey) -> Result<(), Status> {
        let Some(volume) = self.volumes.store().get(key) else { return Ok(()) };
        let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
            return write::volume_phase(&self.context, &volume, "Available").await;
        };
        let uid = reference.uid.as_deref().unwrap_or("");
        if uid.is_empty() {
            // Reserved by name; its claim has not come yet.
            return write::volume_phase(&self.context, &volume, "Available").await;
        }
        let (name, namespace) =
            (reference.name.as_deref().unwrap_or(""), reference.namespace.as_deref().unwrap_or(""));
        let same = |claim: &Arc<PersistentVolumeClaim>| claim.metadata.uid.as_deref() == Some(uid);
        let mut claim = self.claims.store().find(namespace, name).filter(same);
        if claim.is_none() {
            // The cache may be behind, and releasing may delete data: ask.
            let api = self.context.client.namespaced::<PersistentVolumeClaim>(namespace);
            claim = api.get_opt(name).await?.filter(same);
        }
        let Some(claim) = claim else { return write::volume_phase(&self.context, &volume, "Released").await };
        let bound =
            claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()) == volume.metadata.name.as_ref();
        if bound { write::volume_phase(&self.context, &volume, "Bound").await } else { Ok(()) }
    }
}
