//! `node.k8s.io/v1` RuntimeClass.

use crate::common::{amounts, names};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(RuntimeClass);

impl Rules for RuntimeClass {
    fn set_defaults(&mut self) {
        if let Some(overhead) = &mut self.overhead {
            amounts::normalize_all([&mut overhead.pod_fixed]);
        }
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let handler = &self.handler;
        names::report(FieldPath::new("handler"), handler, names::dns1123_label(handler), errors);
        if let Some(labels) = self.scheduling.as_ref().and_then(|s| s.node_selector.as_ref()) {
            names::validate_labels(labels, &FieldPath::new("scheduling").child("nodeSelector"), errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.immutable(FieldPath::new("handler"), &self.handler, &old.handler, &self.handler);
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("Handler", "string", "How the runtime calls it."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![name_cell(self), json!(self.handler), age_cell(self, now)]
    }
}

/// The resource `runtimeclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<RuntimeClass>()
}
