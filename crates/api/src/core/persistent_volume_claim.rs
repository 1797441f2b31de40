//! `v1` PersistentVolumeClaim: what is asked for, and the little of it that may change later.

use crate::common::{amounts, default_text, text, volume_claim};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference,
    TypedObjectReference,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(PersistentVolumeClaim);

const IMMUTABLE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

impl Rules for PersistentVolumeClaim {
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        volume_claim::defaults(spec);
        mirror_source(spec);
        let status = self.status.get_or_insert_default();
        default_text(&mut status.phase, "Pending");
        amounts::normalize_all([&mut status.capacity, &mut status.allocated_resources]);
    }

    fn prepare_create(&mut self) {
        self.status = Some(PersistentVolumeClaimStatus {
            phase: Some("Pending".to_owned()),
            ..PersistentVolumeClaimStatus::default()
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
        let empty = PersistentVolumeClaimSpec::default();
        volume_claim::validate(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        validate_change(self, old, errors);
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
        let requests = self.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        if let Some(size) =
            requests.and_then(|requests| requests.get("storage")).filter(|size| size.0.ends_with('m'))
        {
            all.push(format!(
                "spec.resources.requests[storage]: fractional byte value {:?} is invalid, must be an integer",
                size.0
            ));
        }
        all
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "string", "Whether it is bound."),
            Column::new("Volume", "string", "The volume that it is bound to."),
            Column::new("Capacity", "string", "Size of the volume."),
            Column::new("Access Modes", "string", "How the volume may be mounted."),
            Column::new("StorageClass", "string", "Storage class."),
            Column::new("VolumeAttributesClass", "string", "Volume attributes class."),
            Column::age(),
            Column::new("VolumeMode", "string", "File system or block device.").wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let (empty_spec, empty_status) = Default::default();
        let spec: &PersistentVolumeClaimSpec = self.spec.as_ref().unwrap_or(&empty_spec);
        let status: &PersistentVolumeClaimStatus = self.status.as_ref().unwrap_or(&empty_status);
        let deleted = self.metadata.deletion_timestamp.is_some();
        let phase = if deleted { "Terminating" } else { text(&status.phase) };
        // Size and modes are those of the volume, once there is one.
        let bound = !text(&spec.volume_name).is_empty();
        let size = status.capacity.as_ref().filter(|_| bound).and_then(|c| c.get("storage"));
        let modes = if bound { volume_claim::short_modes(&status.access_modes) } else { String::new() };
        let beta = self.metadata.annotations.as_ref().and_then(|a| a.get(BETA_CLASS));
        let class = match &spec.volume_attributes_class_name {
            Some(class) if !class.is_empty() => class.as_str(),
            _ => "<unset>",
        };
        vec![
            name_cell(self),
            json!(phase),
            json!(text(&spec.volume_name)),
            json!(match size {
                Some(size) => amounts::canonical(size),
                None if bound => "0".to_owned(),
                None => String::new(),
            }),
            json!(modes),
            json!(beta.map_or(text(&spec.storage_class_name), String::as_str)),
            json!(class),
            age_cell(self, now),
            json!(spec.volume_mode.as_deref().unwrap_or("<unset>")),
        ]
    }
}

/// `dataSource` and the newer `dataSourceRef` say the same, unless another namespace is named.
fn mirror_source(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if text(&source.namespace).is_empty() => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            });
        }
        _ => {}
    }
}

fn validate_change(claim: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut FieldErrors) {
    let (Some(new), Some(was)) = (&claim.spec, &old.spec) else { return };
    let path = FieldPath::new("spec");
    let mut munged = new.clone();
    // Binding sets the volume's name once, with the class where it had none.
    if text(&was.volume_name).is_empty() {
        munged.volume_name.clone_from(&was.volume_name);
    }
    if was.storage_class_name.is_none() {
        munged.storage_class_name.clone_from(&was.storage_class_name);
    }
    munged.volume_attributes_class_name.clone_from(&was.volume_attributes_class_name);
    let size = |spec: &PersistentVolumeClaimSpec| {
        spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage")).cloned()
    };
    let is_bound = old.status.as_ref().is_some_and(|status| text(&status.phase) == "Bound");
    if is_bound && let (Some(now), Some(before)) = (size(new), size(was)) {
        let given =
            old.status.as_ref().and_then(|status| status.capacity.as_ref()).and_then(|c| c.get("storage"));
        let shrinks = amounts::compare(&now, &before).is_some_and(|order| order.is_lt());
        // A failed growth may be taken back down to what the volume has.
        if shrinks && given.is_none_or(|given| amounts::compare(&now, given).is_none_or(|o| o.is_le())) {
            errors.forbidden(
                path.child("resources").child("requests").child("storage"),
                "field can not be less than status.capacity",
            );
        }
        if let Some(requests) = munged.resources.as_mut().and_then(|r| r.requests.as_mut()) {
            requests.insert("storage".to_owned(), before);
        }
    }
    if munged != *was {
        let munged = PersistentVolumeClaim { spec: Some(munged), ..old.clone() };
        let diff = crate::common::diff::specs("core.PersistentVolumeClaimSpec", old, &munged);
        errors.forbidden(path, format!("{IMMUTABLE}\n{diff}"));
    }
}

/// The resource `persistentvolumeclaims`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PersistentVolumeClaim>().short(&["pvc"]).status()
}
