//! `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicy.
//!
//! Deliberately absent: compiling its expressions, which the API server does.

use super::webhooks::validate_conditions;
use crate::common::{default, default_text, first_generation, items, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec, ValidatingAdmissionPolicyStatus,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ValidatingAdmissionPolicy);

impl Rules for ValidatingAdmissionPolicy {
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
        self.status = Some(ValidatingAdmissionPolicyStatus::default());
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
        let empty = ValidatingAdmissionPolicySpec::default();
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
        if items(&spec.validations).is_empty() && items(&spec.audit_annotations).is_empty() {
            errors.required(
                path.child("validations"),
                "validations or auditAnnotations must contain at least one item",
            );
        }
        for (at, validation) in items(&spec.validations).iter().enumerate() {
            if validation.expression.trim().is_empty() {
                errors.required(
                    path.child("validations").index(at).child("expression"),
                    "expression is not specified",
                );
            }
        }
        validate_conditions(&spec.match_conditions, &path, errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Validations", "integer", "How many expressions it has."),
            Column::new("ParamKind", "string", "Kind of its parameters."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let kind = spec.and_then(|spec| spec.param_kind.as_ref());
        let kind = kind.map(|kind| format!("{}/{}", text(&kind.api_version), text(&kind.kind)));
        let count = spec.map_or(0, |spec| items(&spec.validations).len());
        vec![
            name_cell(self),
            json!(count),
            json!(kind.unwrap_or_else(|| "<unset>".to_owned())),
            age_cell(self, now),
        ]
    }
}

/// The resource `validatingadmissionpolicies`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ValidatingAdmissionPolicy>().category("api-extensions").status()
}
