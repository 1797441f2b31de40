//! `networking.k8s.io/v1` IngressClass.

use crate::common::print::or_none;
use crate::common::{first_generation, names, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassSpec};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(IngressClass);

impl Rules for IngressClass {
    fn set_defaults(&mut self) {
        if let Some(parameters) = self.spec.as_mut().and_then(|spec| spec.parameters.as_mut()) {
            crate::common::default_text(&mut parameters.scope, "Cluster");
        }
    }

    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = IngressClassSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        let controller = text(&spec.controller);
        if controller.len() > 250 {
            errors.too_long(path.child("controller"), 250);
        }
        let domain = controller
            .split_once('/')
            .filter(|(domain, rest)| names::dns1123_subdomain(domain).is_empty() && !rest.is_empty());
        if domain.is_none() {
            errors.invalid(
                path.child("controller"),
                controller,
                "must be a domain-prefixed path (such as \"acme.io/foo\")",
            );
        }
        let Some(parameters) = &spec.parameters else { return };
        let at = path.child("parameters");
        for (field, value) in [("kind", &parameters.kind), ("name", &parameters.name)] {
            if value.is_empty() {
                errors.required(at.child(field), format!("{field} is required"));
            }
        }
        match (text(&parameters.scope), text(&parameters.namespace)) {
            ("Cluster", "") => {}
            ("Cluster", _) => {
                errors.forbidden(at.child("namespace"), "`parameters.scope` is set to 'Cluster'")
            }
            ("Namespace", "") => {
                errors.required(at.child("namespace"), "`parameters.scope` is set to 'Namespace'");
            }
            ("Namespace", _) => {}
            (other, _) => errors.not_supported(at.child("scope"), other, &["Cluster", "Namespace"]),
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let controller = |class: &Self| {
            class.spec.as_ref().map(|spec| text(&spec.controller).to_owned()).unwrap_or_default()
        };
        let (new, was) = (controller(self), controller(old));
        errors.immutable(FieldPath::new("spec").child("controller"), &new, &was, &new);
        self.validate_create(errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Controller", "string", "The controller of the class."),
            Column::new("Parameters", "string", "What configures the controller."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let parameters = spec.and_then(|spec| spec.parameters.as_ref()).map(|p| {
            let group = text(&p.api_group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", p.kind, p.name)
        });
        vec![
            name_cell(self),
            json!(spec.map(|spec| text(&spec.controller)).unwrap_or_default()),
            or_none(parameters.as_deref().unwrap_or_default()),
            age_cell(self, now),
        ]
    }
}

/// The resource `ingressclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<IngressClass>()
}
