//! `v1` ConfigMap: keys, total size, immutability.

use crate::common::names;
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ConfigMap);

/// Bytes that all values may have together.
const MAX_SIZE: usize = 1024 * 1024;

impl Rules for ConfigMap {
    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = Default::default();
        let data = self.data.as_ref().unwrap_or(&empty);
        let mut size = 0;
        for (key, value) in data {
            size += value.len();
            let at = FieldPath::new("data").key(key);
            names::report(at.clone(), key, names::config_map_key(key), errors);
            if self.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(at, key, "duplicate of key present in binaryData");
            }
        }
        for (key, value) in self.binary_data.iter().flatten() {
            size += value.0.len();
            let at = FieldPath::new("binaryData").key(key);
            names::report(at, key, names::config_map_key(key), errors);
        }
        if size > MAX_SIZE {
            errors.too_long(FieldPath::root(), MAX_SIZE);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        if old.immutable == Some(true) {
            const FROZEN: &str = "field is immutable when `immutable` is set";
            if self.immutable != Some(true) {
                errors.forbidden(FieldPath::new("immutable"), FROZEN);
            }
            if self.data != old.data {
                errors.forbidden(FieldPath::new("data"), FROZEN);
            }
            if self.binary_data != old.binary_data {
                errors.forbidden(FieldPath::new("binaryData"), FROZEN);
            }
        }
        self.validate_create(errors);
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("Data", "string", "How many keys it has."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let keys =
            self.data.as_ref().map_or(0, |d| d.len()) + self.binary_data.as_ref().map_or(0, |d| d.len());
        vec![name_cell(self), json!(keys), age_cell(self, now)]
    }
}

/// The resource `configmaps`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ConfigMap>().short(&["cm"])
}
