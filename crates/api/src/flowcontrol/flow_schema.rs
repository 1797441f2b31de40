//! `flowcontrol.apiserver.k8s.io/v1` FlowSchema.

use crate::common::{default, first_generation, items, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, FlowSchemaSpec, FlowSchemaStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(FlowSchema);

impl Rules for FlowSchema {
    fn set_defaults(&mut self) {
        default(&mut self.spec.get_or_insert_default().matching_precedence, 1000);
    }

    fn prepare_create(&mut self) {
        self.status = Some(FlowSchemaStatus::default());
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = FlowSchemaSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        let precedence = spec.matching_precedence.unwrap_or_default();
        if precedence <= 0 {
            errors.invalid(path.child("matchingPrecedence"), precedence, "must be a positive value");
        } else if precedence > 10_000 {
            let at = path.child("matchingPrecedence");
            errors.invalid(at, precedence, "must not be greater than 10000");
        }
        let level = &spec.priority_level_configuration.name;
        if level.is_empty() {
            errors.required(
                path.child("priorityLevelConfiguration").child("name"),
                "must reference a priority level",
            );
        }
        if let Some(method) = &spec.distinguisher_method
            && !["ByNamespace", "ByUser"].contains(&method.type_.as_str())
        {
            let at = path.child("distinguisherMethod").child("type");
            errors.not_supported(at, &method.type_, &["ByNamespace", "ByUser"]);
        }
        for (at, rule) in items(&spec.rules).iter().enumerate() {
            let at = path.child("rules").index(at);
            if rule.subjects.is_empty() {
                errors.required(at.child("subjects"), "subjects must contain at least one value");
            }
            if items(&rule.resource_rules).is_empty() && items(&rule.non_resource_rules).is_empty() {
                errors.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
            }
        }
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let conditions = self.status.as_ref().map(|status| items(&status.conditions)).unwrap_or_default();
        let types = conditions.iter().map(|condition| text(&condition.type_));
        crate::common::status::condition_types(types, errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("PriorityLevel", "string", "Where matching requests queue."),
            Column::new("MatchingPrecedence", "integer", "Lower ones are tried first."),
            Column::new("DistinguisherMethod", "string", "What makes requests one flow."),
            Column::age(),
            Column::new("MissingPL", "string", "Whether the priority level does not exist."),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let method = spec.and_then(|spec| spec.distinguisher_method.as_ref());
        let conditions = self.status.as_ref().map(|status| items(&status.conditions)).unwrap_or_default();
        let dangling = conditions.iter().find(|c| text(&c.type_) == "Dangling");
        vec![
            name_cell(self),
            json!(spec.map(|spec| spec.priority_level_configuration.name.as_str()).unwrap_or_default()),
            json!(spec.and_then(|spec| spec.matching_precedence).unwrap_or_default()),
            json!(method.map_or("<none>", |method| method.type_.as_str())),
            age_cell(self, now),
            json!(dangling.map_or("?", |condition| text(&condition.status))),
        ]
    }
}

/// The resource `flowschemas`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<FlowSchema>().status()
}
