//! The volume of a claim, as an object. Pure.

use super::{FINALIZER, HOSTNAME, NAME, PROVISIONED_BY};
use crate::volume_binder::matching::request;
use crate::volume_binder::write::reference_to;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use std::path::Path;

/// Name of a claim's volume.
pub(super) fn name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or(""))
}

/// What a node is called in volumes' affinity.
pub(super) fn hostname(node: &Node) -> &str {
    let own = node.metadata.name.as_deref().unwrap_or("");
    node.metadata.labels.as_ref().and_then(|labels| labels.get(HOSTNAME)).map_or(own, String::as_str)
}

/// Refuses what a directory on one node cannot be.
pub(super) fn check(claim: &PersistentVolumeClaim) -> Result<(), String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("only volumeMode Filesystem is supported".to_owned());
    }
    let one_node = |mode: &&String| !["ReadWriteOnce", "ReadWriteOncePod"].contains(&mode.as_str());
    match spec.access_modes.iter().flatten().find(one_node) {
        Some(mode) => Err(format!("access mode {mode} is not supported: a directory is on one node only")),
        None => Ok(()),
    }
}

/// The volume of a claim, a directory below `root` on `node`. A `local` volume, so that the pod's `fsGroup` is applied
/// to it, as it is not to host paths.
pub(super) fn of(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &Node,
    root: &Path,
) -> PersistentVolume {
    let name = name(claim);
    let requirement = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![hostname(node).to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), match_fields: None };
    let path = root.join(&name).to_string_lossy().into_owned();
    let policy = class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned());
    let mut volume = PersistentVolume::default();
    volume.metadata.name = Some(name);
    volume.metadata.annotations = Some([(PROVISIONED_BY.to_owned(), NAME.to_owned())].into());
    volume.metadata.finalizers = (policy == "Delete").then(|| vec![FINALIZER.to_owned()]);
    volume.spec = Some(PersistentVolumeSpec {
        access_modes: claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()),
        capacity: request(claim).map(|size| [("storage".to_owned(), size)].into()),
        claim_ref: Some(reference_to(claim)),
        local: Some(LocalVolumeSource { path, fs_type: None }),
        mount_options: class.mount_options.clone(),
        node_affinity: Some(VolumeNodeAffinity {
            required: Some(NodeSelector { node_selector_terms: vec![term] }),
        }),
        persistent_volume_reclaim_policy: Some(policy),
        storage_class_name: class.metadata.name.clone(),
        volume_mode: Some("Filesystem".to_owned()),
        ..PersistentVolumeSpec::default()
    });
    volume
}

/// The hostname of the node that a volume of ours is on.
pub(super) fn home(volume: &PersistentVolume) -> Option<String> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let terms = required.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    terms.filter(|wanted| wanted.key == HOSTNAME).find_map(|wanted| wanted.values.as_ref()?.first().cloned())
}

/// The directory of a volume of ours; volumes of earlier versions are host paths.
pub(super) fn path(volume: &PersistentVolume) -> Option<&Path> {
    let spec = volume.spec.as_ref()?;
    let local = spec.local.as_ref().map(|local| &local.path);
    local.or(spec.host_path.as_ref().map(|host| &host.path)).map(Path::new)
}
