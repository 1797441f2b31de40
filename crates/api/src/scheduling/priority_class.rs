//! `scheduling.k8s.io/v1` PriorityClass.

use crate::common::{default_text, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(PriorityClass);

/// Highest priority that users may define.
pub const HIGHEST_USER_PRIORITY: i32 = 1_000_000_000;
/// Names that start so belong to the system.
const SYSTEM_PREFIX: &str = "system-";
/// The system's own classes: name and priority.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Rules for PriorityClass {
    fn set_defaults(&mut self) {
        default_text(&mut self.preemption_policy, "PreemptLowerPriority");
        crate::common::default(&mut self.value, 0);
    }

    fn prepare_create(&mut self) {
        self.metadata.generation = Some(1);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let (name, value) = (text(&self.metadata.name), self.value.unwrap_or_default());
        if name.starts_with(SYSTEM_PREFIX) {
            if !SYSTEM_CLASSES.contains(&(name, value)) {
                errors.forbidden(
                    FieldPath::new("metadata").child("name"),
                    format!(
                        "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: \
                         {name} is not a known system priority class"
                    ),
                );
            }
        } else if value > HIGHEST_USER_PRIORITY {
            errors.forbidden(
                FieldPath::new("value"),
                format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"),
            );
        }
        let policy = text(&self.preemption_policy);
        if !["", "Never", "PreemptLowerPriority"].contains(&policy) {
            errors.not_supported(
                FieldPath::new("preemptionPolicy"),
                policy,
                &["Never", "PreemptLowerPriority"],
            );
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        if self.value != old.value {
            errors.forbidden(FieldPath::new("value"), "may not be changed in an update.");
        }
        let policy = text(&self.preemption_policy);
        errors.immutable(FieldPath::new("preemptionPolicy"), &policy, &text(&old.preemption_policy), policy);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Value", "integer", "Priority of pods of this class."),
            Column::new("Global-Default", "boolean", "Whether pods without a class get this one."),
            Column::age(),
            Column::new("PreemptionPolicy", "string", "Whether its pods push others off a node."),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![
            name_cell(self),
            json!(self.value.unwrap_or_default()),
            json!(self.global_default.unwrap_or_default()),
            age_cell(self, now),
            json!(text(&self.preemption_policy)),
        ]
    }
}

/// The resource `priorityclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PriorityClass>().short(&["pc"])
}
