//! `resource.k8s.io/v1` ResourceSlice: devices that a driver offers.

use crate::common::print::or_none;
use crate::common::{first_generation, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::resource::v1::ResourceSlice;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ResourceSlice);

impl Rules for ResourceSlice {
    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let (spec, path) = (&self.spec, FieldPath::new("spec"));
        crate::common::pod::volume_sources::csi_driver(&spec.driver, path.child("driver"), errors);
        if spec.pool.name.is_empty() {
            errors.required(path.child("pool").child("name"), "");
        }
        if spec.pool.resource_slice_count <= 0 {
            let at = path.child("pool").child("resourceSliceCount");
            errors.invalid(at, spec.pool.resource_slice_count, "must be greater than zero");
        }
        let scopes = [
            !text(&spec.node_name).is_empty(),
            spec.node_selector.is_some(),
            spec.all_nodes == Some(true),
            spec.per_device_node_selection == Some(true),
        ];
        if scopes.iter().filter(|set| **set).count() != 1 {
            errors.required(
                path,
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            );
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let path = FieldPath::new("spec");
        errors.immutable(path.child("driver"), &self.spec.driver, &old.spec.driver, &self.spec.driver);
        let (new, was) = (&self.spec.pool.name, &old.spec.pool.name);
        errors.immutable(path.child("pool").child("name"), new, was, new);
        let (new, was) = (text(&self.spec.node_name), text(&old.spec.node_name));
        errors.immutable(path.child("nodeName"), &new, &was, new);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Node", "string", "The node that has the devices."),
            Column::new("Driver", "string", "Who offers them."),
            Column::new("Pool", "string", "The pool that they belong to."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let node = match text(&self.spec.node_name) {
            "" => json!("<unset>"),
            node => or_none(node),
        };
        vec![name_cell(self), node, json!(self.spec.driver), json!(self.spec.pool.name), age_cell(self, now)]
    }
}

/// The resource `resourceslices`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ResourceSlice>()
        .select::<ResourceSlice>("spec.nodeName", |slice| text(&slice.spec.node_name).to_owned())
        .select::<ResourceSlice>("spec.driver", |slice| slice.spec.driver.clone())
}
