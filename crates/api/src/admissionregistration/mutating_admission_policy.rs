//! `admissionregistration.k8s.io/v1` MutatingAdmissionPolicy.
//!
//! Deliberately absent: compiling its expressions, which the API server does.

use super::webhooks::validate_conditions;
use crate::common::{default, default_text, first_generation, items, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicySpec};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(MutatingAdmissionPolicy);

impl Rules for MutatingAdmissionPolicy {
    fn set_defaults(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        default_text(&mut spec.failure_policy, "Fail");
        if let Some(resources) = &mut spec.match_constraints {
            default_text(&mut resources.match_policy, "Equivalent");
            default(&mut resources.namespace_selector, Default::default());
            default(&mut resources.object_selector, Default::default());
            for rule in resources
                .resource_rules
                .iter_mut()
                .flatten()
                .chain(resources.exclude_resource_rules.iter_mut().flatten())
            {
                default_text(&mut rule.scope, "*");
            }
        }
    }

    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = MutatingAdmissionPolicySpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        let policy = text(&spec.failure_policy);
        if !["", "Fail", "Ignore"].contains(&policy) {
            errors.not_supported(path.child("failurePolicy"), policy, &["Fail", "Ignore"]);
        }
        if let Some(kind) = &spec.param_kind {
            for (field, value) in [("apiVersion", &kind.api_version), ("kind", &kind.kind)] {
                if text(value).is_empty() {
                    errors.required(path.child("paramKind").child(field), "");
                }
            }
        }
        let at = path.child("matchConstraints");
        match &spec.match_constraints {
            None => errors.required(at, ""),
            Some(resources) if items(&resources.resource_rules).is_empty() => {
                errors.required(at.child("resourceRules"), "");
            }
            Some(_) => {}
        }
        if items(&spec.mutations).is_empty() {
            errors.required(path.child("mutations"), "mutations must contain at least one item");
        }
        for (at, mutation) in items(&spec.mutations).iter().enumerate() {
            let at = path.child("mutations").index(at).child("patchType");
            match mutation.patch_type.as_str() {
                "" => errors.required(at, ""),
                "ApplyConfiguration" | "JSONPatch" => {}
                other => errors.not_supported(at, other, &["ApplyConfiguration", "JSONPatch"]),
            }
        }
        validate_conditions(&spec.match_conditions, &path, errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Mutations", "integer", "How many expressions it has."),
            Column::new("ParamKind", "string", "Kind of its parameters."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let kind = spec.and_then(|spec| spec.param_kind.as_ref());
        let kind = kind.map(|kind| format!("{}/{}", text(&kind.api_version), text(&kind.kind)));
        let count = spec.map_or(0, |spec| items(&spec.mutations).len());
        vec![
            name_cell(self),
            json!(count),
            json!(kind.unwrap_or_else(|| "<unset>".to_owned())),
            age_cell(self, now),
        ]
    }
}

/// The resource `mutatingadmissionpolicies`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<MutatingAdmissionPolicy>().category("api-extensions")
}
