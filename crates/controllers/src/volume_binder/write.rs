//! What the binder writes. Binding takes four writes (the volume's reference and phase, the claim's volume and phase); each
//! is skipped when it was made before, so an interrupted binding is finished later.

use super::PROVISIONER;
use crate::context::Context;
use client::Patch;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use machinery::Status;
use serde_json::{Value, json};

const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";

fn merge(patch: &Value) -> Patch {
    Patch::Merge(patch.to_string().into())
}

async fn patch_claim(context: &Context, claim: &PersistentVolumeClaim, patch: &Value) -> Result<(), Status> {
    let api =
        context.client.namespaced::<PersistentVolumeClaim>(claim.metadata.namespace.as_deref().unwrap_or(""));
    api.patch(claim.metadata.name.as_deref().unwrap_or(""), merge(patch)).await.map(drop)
}

/// A reference to a claim.
pub(crate) fn reference_to(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        name: claim.metadata.name.clone(),
        namespace: claim.metadata.namespace.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// Binds a claim and a volume to each other.
pub(super) async fn bind(
    context: &Context,
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Result<(), Status> {
    let name = volume.metadata.name.as_deref().unwrap_or("");
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if reference.and_then(|reference| reference.uid.as_ref()) != claim.metadata.uid.as_ref() {
        let mut bound = volume.clone();
        if reference.is_none() {
            let annotations = bound.metadata.annotations.get_or_insert_default();
            annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
        }
        bound.spec.get_or_insert_default().claim_ref = Some(reference_to(claim));
        context.client.all::<PersistentVolume>().update(&bound).await?;
    }
    let spec = claim.spec.clone().unwrap_or_default();
    let annotations = claim.metadata.annotations.as_ref();
    let completed = annotations.is_some_and(|all| all.contains_key(BIND_COMPLETED));
    if spec.volume_name.as_deref() != Some(name) || !completed {
        let mut patch = json!({"metadata": {
            "resourceVersion": claim.metadata.resource_version, "annotations": {BIND_COMPLETED: "yes"},
        }, "spec": {"volumeName": name}});
        if spec.volume_name.as_deref().unwrap_or("").is_empty() {
            patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
        patch_claim(context, claim, &patch).await?;
    }
    bound_status(context, claim, volume).await?;
    volume_phase(context, volume, "Bound").await
}

async fn bound_status(
    context: &Context,
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Result<(), Status> {
    let status = claim.status.clone().unwrap_or_default();
    let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.clone());
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.clone());
    if status.phase.as_deref() == Some("Bound") && status.access_modes == modes && status.capacity.is_some() {
        return Ok(());
    }
    let capacity: serde_json::Map<String, Value> =
        capacity.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0.into())).collect();
    let patch = json!({"status": {"phase": "Bound", "accessModes": modes, "capacity": capacity}});
    let api =
        context.client.namespaced::<PersistentVolumeClaim>(claim.metadata.namespace.as_deref().unwrap_or(""));
    api.patch_status(claim.metadata.name.as_deref().unwrap_or(""), merge(&patch)).await.map(drop)
}

/// Sets a claim's phase.
pub(super) async fn phase(
    context: &Context,
    claim: &PersistentVolumeClaim,
    phase: &str,
) -> Result<(), Status> {
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
        return Ok(());
    }
    let api =
        context.client.namespaced::<PersistentVolumeClaim>(claim.metadata.namespace.as_deref().unwrap_or(""));
    let patch = json!({"status": {"phase": phase}});
    api.patch_status(claim.metadata.name.as_deref().unwrap_or(""), merge(&patch)).await.map(drop)
}

/// Sets a volume's phase.
pub(super) async fn volume_phase(
    context: &Context,
    volume: &PersistentVolume,
    phase: &str,
) -> Result<(), Status> {
    if volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
        return Ok(());
    }
    let now = client::time::time(&*context.clock).0.to_string();
    let patch = json!({"status": {"phase": phase, "lastPhaseTransitionTime": now}});
    let api = context.client.all::<PersistentVolume>();
    match api.patch_status(volume.metadata.name.as_deref().unwrap_or(""), merge(&patch)).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

/// Gives a claim that names no class the default one.
pub(super) async fn class(
    context: &Context,
    claim: &PersistentVolumeClaim,
    class: &str,
) -> Result<(), Status> {
    let patch = json!({
        "metadata": {"resourceVersion": claim.metadata.resource_version}, "spec": {"storageClassName": class},
    });
    patch_claim(context, claim, &patch).await
}

/// Asks a provisioner for a volume.
pub(super) async fn provisioner(
    context: &Context,
    claim: &PersistentVolumeClaim,
    provisioner: &str,
) -> Result<(), Status> {
    let annotations = json!({PROVISIONER: provisioner, BETA_PROVISIONER: provisioner});
    patch_claim(context, claim, &json!({"metadata": {"annotations": annotations}})).await
}
