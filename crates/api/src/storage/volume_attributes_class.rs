//! `storage.k8s.io/v1` VolumeAttributesClass.

use crate::common::names;
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(VolumeAttributesClass);

impl Rules for VolumeAttributesClass {
    fn validate_create(&self, errors: &mut FieldErrors) {
        let at = FieldPath::new("driverName");
        if self.driver_name.is_empty() {
            errors.required(at, "");
        } else {
            let lower = self.driver_name.to_lowercase();
            names::report(at, &self.driver_name, names::qualified_name(&lower), errors);
        }
        if self.parameters.as_ref().is_none_or(|parameters| parameters.is_empty()) {
            errors.required(FieldPath::new("parameters"), "must contain at least one key/value pair");
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let driver = &self.driver_name;
        errors.immutable(FieldPath::new("driverName"), driver, &old.driver_name, driver);
        let printed = crate::common::json::map(&self.parameters);
        errors.immutable(FieldPath::new("parameters"), &self.parameters, &old.parameters, printed);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("DriverName", "string", "The driver that knows the attributes."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![name_cell(self), json!(self.driver_name), age_cell(self, now)]
    }
}

/// The resource `volumeattributesclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<VolumeAttributesClass>().short(&["vac"])
}
