//! `storage.k8s.io/v1` StorageClass.

use crate::common::{default_text, items, json as printed, names, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(StorageClass);

/// Marks the class of claims that name none; the second is the old name.
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// Bytes that all parameters may have together.
const MAX_PARAMETERS: usize = 256 * 1024;

/// Whether claims that name no class get this one.
pub fn is_default(class: &StorageClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    DEFAULT.iter().any(|key| annotations.and_then(|a| a.get(*key)).is_some_and(|value| value == "true"))
}

impl Rules for StorageClass {
    fn set_defaults(&mut self) {
        default_text(&mut self.reclaim_policy, "Delete");
        default_text(&mut self.volume_binding_mode, "Immediate");
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let at = FieldPath::new("provisioner");
        if self.provisioner.is_empty() {
            errors.required(at, "");
        } else {
            let lower = self.provisioner.to_lowercase();
            names::report(at, &self.provisioner, names::qualified_name(&lower), errors);
        }
        let mut size = 0;
        for (key, value) in self.parameters.iter().flatten() {
            if key.is_empty() {
                errors.invalid(FieldPath::new("parameters"), key, "field can not be empty.");
            }
            size += key.len() + value.len();
        }
        if size > MAX_PARAMETERS {
            errors.too_long(FieldPath::new("parameters"), MAX_PARAMETERS);
        }
        let policy = text(&self.reclaim_policy);
        if !["Delete", "Retain"].contains(&policy) {
            errors.not_supported(FieldPath::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
        }
        const MODES: &[&str] = &["Immediate", "WaitForFirstConsumer"];
        let at = FieldPath::new("volumeBindingMode");
        match text(&self.volume_binding_mode) {
            "" => errors.required(at, ""),
            mode if !MODES.contains(&mode) => errors.not_supported(at, mode, MODES),
            _ => {}
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        if self.parameters != old.parameters {
            errors.forbidden(FieldPath::new("parameters"), "updates to parameters are forbidden.");
        }
        if self.provisioner != old.provisioner {
            errors.forbidden(FieldPath::new("provisioner"), "updates to provisioner are forbidden.");
        }
        if text(&self.reclaim_policy) != text(&old.reclaim_policy) {
            errors.forbidden(FieldPath::new("reclaimPolicy"), "updates to reclaimPolicy are forbidden.");
        }
        let mode = text(&self.volume_binding_mode);
        errors.immutable(FieldPath::new("volumeBindingMode"), &mode, &text(&old.volume_binding_mode), mode);
        if self.mount_options != old.mount_options {
            let options = printed::list(items(&self.mount_options));
            errors.invalid(FieldPath::new("mountOptions"), options, "field is immutable");
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Provisioner", "string", "Who makes its volumes."),
            Column::new("ReclaimPolicy", "string", "What happens to volumes when their claim is gone."),
            Column::new("VolumeBindingMode", "string", "When claims are bound."),
            Column::new("AllowVolumeExpansion", "string", "Whether claims may grow."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let name = if is_default(self) {
            json!(format!("{} (default)", text(&self.metadata.name)))
        } else {
            name_cell(self)
        };
        vec![
            name,
            json!(self.provisioner),
            json!(text(&self.reclaim_policy)),
            json!(text(&self.volume_binding_mode)),
            json!(self.allow_volume_expansion.unwrap_or_default()),
            age_cell(self, now),
        ]
    }
}

/// The resource `storageclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<StorageClass>().short(&["sc"])
}
