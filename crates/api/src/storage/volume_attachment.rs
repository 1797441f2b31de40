//! `storage.k8s.io/v1` VolumeAttachment.

use crate::common::pod::volume_sources::csi_driver;
use crate::common::{names, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(VolumeAttachment);

impl Rules for VolumeAttachment {
    fn prepare_create(&mut self) {
        self.status = Some(VolumeAttachmentStatus::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        csi_driver(&self.spec.attacher, path.child("attacher"), errors);
        let at = path.child("source");
        match (&self.spec.source.persistent_volume_name, &self.spec.source.inline_volume_spec) {
            (None, None) => {
                errors.required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
            }
            (Some(_), Some(_)) => {
                errors.forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
            }
            (Some(name), None) if name.is_empty() => {
                errors.required(
                    at.child("persistentVolumeName"),
                    "must specify non empty persistentVolumeName",
                );
            }
            _ => {}
        }
        let node = &self.spec.node_name;
        names::report(path.child("nodeName"), node, names::dns1123_subdomain(node), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        errors.immutable(FieldPath::new("spec"), &self.spec, &old.spec, json!({}));
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Attacher", "string", "Driver that attaches the volume."),
            Column::new("PV", "string", "The volume."),
            Column::new("Node", "string", "The node that it is attached to."),
            Column::new("Attached", "boolean", "Whether it is attached."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![
            name_cell(self),
            json!(self.spec.attacher),
            json!(text(&self.spec.source.persistent_volume_name)),
            json!(self.spec.node_name),
            json!(self.status.as_ref().is_some_and(|status| status.attached)),
            age_cell(self, now),
        ]
    }
}

/// The resource `volumeattachments`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<VolumeAttachment>().status()
}
