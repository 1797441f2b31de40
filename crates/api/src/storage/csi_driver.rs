//! `storage.k8s.io/v1` CSIDriver.

use crate::common::pod::volume_sources::csi_driver;
use crate::common::{default, default_text, items, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::storage::v1::CSIDriver;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(CSIDriver);

impl Rules for CSIDriver {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        default(&mut spec.attach_required, true);
        default(&mut spec.pod_info_on_mount, false);
        default(&mut spec.storage_capacity, false);
        default(&mut spec.requires_republish, false);
        default(&mut spec.se_linux_mount, false);
        default_text(&mut spec.fs_group_policy, "ReadWriteOnceWithFSType");
        if items(&spec.volume_lifecycle_modes).is_empty() {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
    }

    fn prepare_create(&mut self) {
        self.metadata.generation = Some(1);
    }

    fn prepare_update(&mut self, old: &Self) {
        let changed = self.spec.token_requests != old.spec.token_requests
            || self.spec.requires_republish != old.spec.requires_republish
            || self.spec.se_linux_mount != old.spec.se_linux_mount;
        next_generation(&mut self.metadata, &old.metadata, changed);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let name = text(&self.metadata.name);
        if !name.is_empty() {
            csi_driver(name, FieldPath::new("metadata").child("name"), errors);
        }
        let path = FieldPath::new("spec");
        for mode in items(&self.spec.volume_lifecycle_modes) {
            if !["Ephemeral", "Persistent"].contains(&mode.as_str()) {
                errors.not_supported(path.child("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]);
            }
        }
        const POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
        let policy = text(&self.spec.fs_group_policy);
        if !POLICIES.contains(&policy) {
            errors.not_supported(path.child("fsGroupPolicy"), policy, POLICIES);
        }
        for (at, request) in items(&self.spec.token_requests).iter().enumerate() {
            if request.expiration_seconds.is_some_and(|seconds| seconds < 600) {
                errors.invalid(
                    path.child("tokenRequests").index(at).child("expirationSeconds"),
                    request.expiration_seconds.unwrap_or_default(),
                    "may not specify a duration less than 10 minutes",
                );
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let path = FieldPath::new("spec");
        errors.immutable(
            path.child("attachRequired"),
            &self.spec.attach_required,
            &old.spec.attach_required,
            json!(self.spec.attach_required),
        );
        errors.immutable(
            path.child("volumeLifecycleModes"),
            &self.spec.volume_lifecycle_modes,
            &old.spec.volume_lifecycle_modes,
            json!(self.spec.volume_lifecycle_modes),
        );
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("AttachRequired", "boolean", "Whether volumes are attached before they are mounted."),
            Column::new("PodInfoOnMount", "boolean", "Whether mounting needs to know the pod."),
            Column::new("StorageCapacity", "boolean", "Whether scheduling regards free capacity."),
            Column::new("TokenRequests", "string", "Audiences of the tokens that it needs."),
            Column::new("RequiresRepublish", "boolean", "Whether volumes are published again and again."),
            Column::new("Modes", "string", "Lives that its volumes may have."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = &self.spec;
        let tokens: Vec<&str> = items(&spec.token_requests).iter().map(|t| t.audience.as_str()).collect();
        let tokens = if tokens.is_empty() { "<unset>".to_owned() } else { tokens.join(",") };
        vec![
            name_cell(self),
            json!(spec.attach_required.unwrap_or(true)),
            json!(spec.pod_info_on_mount.unwrap_or_default()),
            json!(spec.storage_capacity.unwrap_or_default()),
            json!(tokens),
            json!(spec.requires_republish.unwrap_or_default()),
            json!(items(&spec.volume_lifecycle_modes).join(",")),
            age_cell(self, now),
        ]
    }
}

/// The resource `csidrivers`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CSIDriver>()
}
