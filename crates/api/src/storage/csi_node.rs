//! `storage.k8s.io/v1` CSINode.

use crate::common::pod::volume_sources::csi_driver;
use crate::common::{items, names};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::storage::v1::CSINode;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};
use std::collections::BTreeSet;

crate::kind!(CSINode);

impl Rules for CSINode {
    fn validate_create(&self, errors: &mut FieldErrors) {
        let mut seen = BTreeSet::new();
        for (at, driver) in self.spec.drivers.iter().enumerate() {
            let path = FieldPath::new("spec").child("drivers").index(at);
            csi_driver(&driver.name, path.child("name"), errors);
            if !seen.insert(&driver.name) {
                errors.duplicate(path.child("name"), &driver.name);
            }
            match driver.node_id.len() {
                0 => errors.required(path.child("nodeID"), ""),
                1..=256 => {}
                _ => errors.invalid(path.child("nodeID"), &driver.node_id, "must be 256 characters or less"),
            }
            for key in items(&driver.topology_keys) {
                names::report(path.child("topologyKeys"), key, names::qualified_name(key), errors);
            }
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Drivers", "integer", "How many drivers the node has."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![name_cell(self), json!(self.spec.drivers.len()), age_cell(self, now)]
    }
}

/// The resource `csinodes`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CSINode>()
}
