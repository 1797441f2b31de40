//! `v1` PersistentVolume: one source, a size, and what never changes once it is made.

use crate::common::pod::{legacy_volumes, scheduling, volume_sources};
use crate::common::volume_claim::{VOLUME_MODES, access_modes, short_modes};
use crate::common::{amounts, default_text, items, names, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(PersistentVolume);

impl Rules for PersistentVolume {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        default_text(&mut spec.persistent_volume_reclaim_policy, "Retain");
        default_text(&mut spec.volume_mode, "Filesystem");
        if let Some(path) = &mut spec.host_path {
            crate::common::default(&mut path.type_, String::new());
        }
        amounts::normalize_all([&mut spec.capacity]);
        default_text(&mut self.status.get_or_insert_default().phase, "Pending");
    }

    fn prepare_create(&mut self) {
        self.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            ..PersistentVolumeStatus::default()
        });
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = PersistentVolumeSpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let (Some(new), Some(was)) = (&self.spec, &old.spec) else { return };
        let path = FieldPath::new("spec");
        if source_only(new) != source_only(was) {
            errors.forbidden(
                path.child("persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            );
        }
        errors.immutable(
            path.child("volumeMode"),
            &new.volume_mode,
            &was.volume_mode,
            text(&new.volume_mode),
        );
        if was.node_affinity.is_some() && new.node_affinity != was.node_affinity {
            errors.invalid(path.child("nodeAffinity"), json!({}), "field is immutable");
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old
            .is_some_and(|old| old.spec == self.spec && old.metadata.annotations == self.metadata.annotations)
        {
            return Vec::new();
        }
        const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
        let has = |key: &str| self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(key));
        let mut all = Vec::new();
        if has(CLASS) {
            all.push(format!(
                "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        let spec = self.spec.as_ref();
        if spec.is_some_and(|spec| text(&spec.persistent_volume_reclaim_policy) == "Recycle") {
            all.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
                 approach is to use dynamic provisioning."
                    .to_owned(),
            );
        }
        all
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Capacity", "string", "Size of the volume."),
            Column::new("Access Modes", "string", "How it may be mounted."),
            Column::new("Reclaim Policy", "string", "What happens to it when its claim is gone."),
            Column::new("Status", "string", "Whether it is free or bound."),
            Column::new("Claim", "string", "The claim that it is bound to."),
            Column::new("StorageClass", "string", "Storage class."),
            Column::new("VolumeAttributesClass", "string", "Volume attributes class."),
            Column::new("Reason", "string", "Why it is in this state."),
            Column::age(),
            Column::new("VolumeMode", "string", "File system or block device.").wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let empty = PersistentVolumeSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let status = self.status.as_ref();
        let size = spec.capacity.as_ref().and_then(|c| c.get("storage")).map(amounts::canonical);
        let claim = spec.claim_ref.as_ref().map(|c| format!("{}/{}", text(&c.namespace), text(&c.name)));
        let phase = status.map(|status| text(&status.phase)).unwrap_or_default();
        let phase = if self.metadata.deletion_timestamp.is_some() { "Terminating" } else { phase };
        let class = match &spec.volume_attributes_class_name {
            Some(class) if !class.is_empty() => class.as_str(),
            _ => "<unset>",
        };
        let beta =
            self.metadata.annotations.as_ref().and_then(|a| a.get("volume.beta.kubernetes.io/storage-class"));
        let mode = spec.volume_mode.as_deref().unwrap_or("<unset>");
        vec![
            name_cell(self),
            json!(size.unwrap_or_else(|| "0".to_owned())),
            json!(short_modes(&spec.access_modes)),
            json!(text(&spec.persistent_volume_reclaim_policy)),
            json!(phase),
            json!(claim.unwrap_or_default()),
            json!(beta.map_or(text(&spec.storage_class_name), String::as_str)),
            json!(class),
            json!(status.map(|status| text(&status.reason)).unwrap_or_default()),
            age_cell(self, now),
            json!(mode),
        ]
    }
}

/// The spec with everything cleared that may change: what is left is the source.
fn source_only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    let mut spec = PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    };
    // Secrets of a CSI volume may be replaced.
    if let Some(csi) = &mut spec.csi {
        csi.controller_expand_secret_ref = None;
        csi.controller_publish_secret_ref = None;
        csi.node_expand_secret_ref = None;
        csi.node_publish_secret_ref = None;
        csi.node_stage_secret_ref = None;
    }
    spec
}

fn validate_spec(spec: &PersistentVolumeSpec, path: &FieldPath, errors: &mut FieldErrors) {
    access_modes(items(&spec.access_modes), &path.child("accessModes"), errors);
    match spec.capacity.as_ref().filter(|capacity| !capacity.is_empty()) {
        None => errors.required(path.child("capacity"), ""),
        Some(capacity) => {
            for (name, size) in capacity {
                let at = path.child("capacity").key(name);
                if name != "storage" {
                    errors.not_supported(path.child("capacity"), json!(name), &["storage"]);
                } else if amounts::parse(size).is_none_or(|size| size.sign() <= 0) {
                    errors.invalid(at, amounts::canonical(size), "must be greater than zero");
                }
            }
        }
    }
    const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
    let policy = text(&spec.persistent_volume_reclaim_policy);
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.not_supported(path.child("persistentVolumeReclaimPolicy"), policy, POLICIES);
    }
    let class = text(&spec.storage_class_name);
    if !class.is_empty() {
        names::report(path.child("storageClassName"), class, names::dns1123_subdomain(class), errors);
    }
    if let Some(mode) = &spec.volume_mode
        && !VOLUME_MODES.contains(&mode.as_str())
    {
        errors.not_supported(path.child("volumeMode"), mode, VOLUME_MODES);
    }
    let node = spec.node_affinity.as_ref();
    if let Some(affinity) = node {
        let at = path.child("nodeAffinity").child("required");
        match &affinity.required {
            Some(required) => scheduling::node_selector(required, &at, errors),
            None => errors.required(at, "must specify required node constraints"),
        }
    }
    validate_source(spec, path, errors);
}

/// The spec as JSON, if its volume is none of those that are common today.
fn legacy_sources(spec: &PersistentVolumeSpec) -> Option<Value> {
    let is_common =
        spec.csi.is_some() || spec.host_path.is_some() || spec.local.is_some() || spec.nfs.is_some();
    if is_common {
        return None;
    }
    serde_json::to_vec(spec).ok().and_then(|json| serde_json::from_slice(&json).ok())
}

fn validate_source(spec: &PersistentVolumeSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if source_only(spec) == PersistentVolumeSpec::default() {
        errors.required(path.clone(), "must specify a volume type");
    }
    if let Some(legacy) = legacy_sources(spec) {
        for (name, source) in
            legacy.as_object().into_iter().flatten().filter(|(name, _)| legacy_volumes::knows(name))
        {
            legacy_volumes::validate(name, source, &path.child(name), errors);
        }
    }
    if let Some(source) = &spec.host_path {
        volume_sources::host_path(source, &path.child("hostPath"), errors);
        if source.path == "/" && text(&spec.persistent_volume_reclaim_policy) == "Recycle" {
            errors.forbidden(
                path.child("persistentVolumeReclaimPolicy"),
                "may not be 'recycle' for a hostPath mount of '/'",
            );
        }
    }
    if let Some(source) = &spec.local {
        if source.path.is_empty() {
            errors.required(path.child("local").child("path"), "");
        } else if source.path.split('/').any(|part| part == "..") {
            errors.invalid(path.child("local").child("path"), &source.path, "must not contain '..'");
        }
        if spec.node_affinity.is_none() {
            errors.required(path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if let Some(source) = &spec.nfs {
        volume_sources::nfs(source, &path.child("nfs"), errors);
    }
    if let Some(source) = &spec.csi {
        volume_sources::csi_driver(&source.driver, path.child("csi").child("driver"), errors);
        if source.volume_handle.is_empty() {
            errors.required(path.child("csi").child("volumeHandle"), "");
        }
    }
    let mut count = 0;
    for (field, set) in [
        ("hostPath", spec.host_path.is_some()),
        ("local", spec.local.is_some()),
        ("nfs", spec.nfs.is_some()),
        ("csi", spec.csi.is_some()),
        ("iscsi", spec.iscsi.is_some()),
        ("fc", spec.fc.is_some()),
    ] {
        count += usize::from(set);
        if set && count > 1 {
            errors.forbidden(path.child(field), "may not specify more than 1 volume type");
        }
    }
}

/// The resource `persistentvolumes`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PersistentVolume>().short(&["pv"]).status()
}
