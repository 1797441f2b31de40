//! The volumes of a pod: names, exactly one source each.

use crate::common::names;
use k8s_openapi::api::core::v1::Volume;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeSet;

/// The fields of the sources that a volume names.
pub fn sources(volume: &Volume) -> Vec<&'static str> {
    macro_rules! set {
        ($($field:ident $name:literal),+ $(,)?) => {
            [$((volume.$field.is_some(), $name)),+]
        };
    }
    let all = set!(
        host_path "hostPath", empty_dir "emptyDir", secret "secret", config_map "configMap",
        downward_api "downwardAPI", projected "projected", persistent_volume_claim "persistentVolumeClaim",
        ephemeral "ephemeral", csi "csi", image "image", nfs "nfs", iscsi "iscsi", fc "fc", rbd "rbd",
        cephfs "cephfs", cinder "cinder", glusterfs "glusterfs", flex_volume "flexVolume", flocker "flocker",
        git_repo "gitRepo", gce_persistent_disk "gcePersistentDisk",
        aws_elastic_block_store "awsElasticBlockStore", azure_disk "azureDisk", azure_file "azureFile",
        vsphere_volume "vsphereVolume", quobyte "quobyte", photon_persistent_disk "photonPersistentDisk",
        portworx_volume "portworxVolume", scale_io "scaleIO", storageos "storageos",
    );
    all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
}

/// Reports bad volumes. Returns the good names, which mounts may use.
pub fn validate<'a>(volumes: &'a [Volume], path: &FieldPath, errors: &mut FieldErrors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        let at = path.index(at);
        let before = errors.0.len();
        validate_source(volume, &at, errors);
        let name_at = at.child("name");
        if volume.name.is_empty() {
            errors.required(name_at, "");
        } else {
            names::report(name_at.clone(), &volume.name, names::dns1123_label(&volume.name), errors);
            if seen.contains(volume.name.as_str()) {
                errors.duplicate(name_at, &volume.name);
            }
        }
        // A mount of a volume that is bad already is not reported a second time.
        if errors.0.len() == before || !volume.name.is_empty() {
            seen.insert(volume.name.as_str());
        }
    }
    seen
}

fn validate_source(volume: &Volume, path: &FieldPath, errors: &mut FieldErrors) {
    match sources(volume).as_slice() {
        [] => errors.required(path.clone(), "must specify a volume type"),
        [_] => super::volume_sources::validate(volume, path, errors),
        [_, rest @ ..] => {
            for name in rest {
                errors.forbidden(path.child(name), "may not specify more than 1 volume type");
            }
        }
    }
}
