//! `admissionregistration.k8s.io/v1` MutatingAdmissionPolicyBinding.

use crate::common::{default, default_text, first_generation, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicyBinding, MutatingAdmissionPolicyBindingSpec,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(MutatingAdmissionPolicyBinding);

impl Rules for MutatingAdmissionPolicyBinding {
    fn set_defaults(&mut self) {
        let resources = self.spec.as_mut().and_then(|spec| spec.match_resources.as_mut());
        if let Some(resources) = resources {
            default_text(&mut resources.match_policy, "Equivalent");
            default(&mut resources.namespace_selector, Default::default());
            default(&mut resources.object_selector, Default::default());
        }
    }

    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = MutatingAdmissionPolicyBindingSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        let policy = text(&spec.policy_name);
        if policy.is_empty() {
            errors.required(path.child("policyName"), "");
        }
        if let Some(reference) = &spec.param_ref {
            let at = path.child("paramRef");
            match (text(&reference.name), &reference.selector) {
                ("", None) => errors.required(at, "one of name or selector must be specified"),
                (name, Some(_)) if !name.is_empty() => {
                    errors.forbidden(at.child("name"), "name and selector are mutually exclusive");
                }
                _ => {}
            }
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("PolicyName", "string", "The policy that it puts into force."),
            Column::new("ParamRef", "string", "The parameters of the policy."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let reference = spec.and_then(|spec| spec.param_ref.as_ref()).map(|reference| {
            match (text(&reference.namespace), text(&reference.name)) {
                ("", "") => "*".to_owned(),
                ("", name) => name.to_owned(),
                (namespace, "") => format!("{namespace}/*"),
                (namespace, name) => format!("{namespace}/{name}"),
            }
        });
        vec![
            name_cell(self),
            json!(spec.map(|spec| text(&spec.policy_name)).unwrap_or_default()),
            json!(reference.unwrap_or_else(|| "<unset>".to_owned())),
            age_cell(self, now),
        ]
    }
}

/// The resource `mutatingadmissionpolicybindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<MutatingAdmissionPolicyBinding>().category("api-extensions")
}
