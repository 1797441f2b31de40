//! `persistentVolumeClaim` and `ephemeral`: the volume that a claim is bound to, where that is a path of the node.

use super::{Mounted, Request, VolumeError, VolumePlugin, blocking, host_path, ownership};
use crate::spec;
use api::k8s_openapi::api::core::v1::{
    HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Volume,
};
use async_trait::async_trait;
use std::path::Path;

pub(super) struct Claim;

/// The claim's name and whether the pod only reads.
fn claim_of(request: &Request<'_>) -> (String, bool) {
    match &request.volume.persistent_volume_claim {
        Some(source) => (source.claim_name.clone(), source.read_only.unwrap_or(false)),
        // Generic ephemeral volumes: the claim is named after pod and volume (KEP-1698).
        None => (format!("{}-{}", spec::name(request.pod), request.volume.name), false),
    }
}

async fn bound_volume(
    request: &Request<'_>,
    name: &str,
) -> Result<std::sync::Arc<PersistentVolume>, VolumeError> {
    let namespace = spec::namespace(request.pod);
    let client = &request.kubelet.client;
    let wrap = |why: String| VolumeError(format!("error processing PVC {namespace}/{name}: {why}"));
    let claim = client
        .namespaced::<PersistentVolumeClaim>(namespace)
        .get(name)
        .await
        .map_err(|status| wrap(format!("failed to fetch PVC from API server: {status}")))?;
    if request.volume.ephemeral.is_some() {
        let owned = claim.metadata.owner_references.iter().flatten().any(|o| o.uid == spec::uid(request.pod));
        if !owned {
            return Err(wrap(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{} (pod is not owner)",
                spec::name(request.pod)
            )));
        }
    }
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|v| !v.is_empty());
    let Some(volume) = volume.filter(|_| bound) else { return Err(wrap("PVC is not bound".to_owned())) };
    let volume = client
        .all::<PersistentVolume>()
        .get(&volume)
        .await
        .map_err(|status| wrap(format!("failed to fetch PV {volume} from API server: {status}")))?;
    let uid = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()).and_then(|r| r.uid.as_deref());
    if uid != claim.metadata.uid.as_deref() {
        return Err(wrap("the bound volume belongs to another claim".to_owned()));
    }
    Ok(volume)
}

#[async_trait]
impl VolumePlugin for Claim {
    fn name(&self) -> &'static str {
        "kubernetes.io/local-volume"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        let (name, read_only) = claim_of(request);
        let volume = bound_volume(request, &name).await?;
        let source = volume.spec.clone().unwrap_or_default();
        if source.volume_mode.as_deref() == Some("Block") {
            return Err(VolumeError(
                "block volumes are not supported by this version of Windlass".to_owned(),
            ));
        }
        let mut mounted = if let Some(path) = &source.host_path {
            host_path::set_up(path).await?
        } else if let Some(local) = &source.local {
            let path = HostPathVolumeSource { path: local.path.clone(), type_: Some("Directory".to_owned()) };
            let mounted = host_path::set_up(&path).await?;
            if !read_only {
                give(request, &mounted.path).await?;
            }
            mounted
        } else {
            return Err(VolumeError(format!(
                "the source of volume {:?} is not supported by this version of Windlass; use hostPath or local",
                volume.metadata.name.as_deref().unwrap_or_default()
            )));
        };
        mounted.read_only = read_only;
        Ok(mounted)
    }
}

/// Gives a local volume to the pod's group. Host paths are never changed.
async fn give(request: &Request<'_>, path: &Path) -> Result<(), VolumeError> {
    let Some(group) = ownership::fs_group(request.pod) else { return Ok(()) };
    let lazy = ownership::on_root_mismatch(request.pod);
    let path = path.to_owned();
    blocking(move || ownership::give(&path, group, false, lazy).map_err(VolumeError::io("give away", &path)))
        .await
}
