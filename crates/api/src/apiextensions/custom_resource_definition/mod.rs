//! `apiextensions.k8s.io/v1` CustomResourceDefinition: names, versions, stored versions. Checks are in
//! `validate`, those of schemas in `schema`.
//!
//! Deliberately absent: serving what it defines, which is the API server's.

mod schema;
mod validate;

use crate::common::print::{created_at, name_and_creation};
use crate::common::{default, default_text, first_generation, items, next_generation, text};
use crate::resource::name_cell;
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
};
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::Value;

crate::kind!(CustomResourceDefinition);

impl Rules for CustomResourceDefinition {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        let kind = spec.names.kind.clone();
        if !kind.is_empty() {
            default_text(&mut spec.names.singular, &kind.to_lowercase());
            default_text(&mut spec.names.list_kind, &format!("{kind}List"));
        }
        if spec.conversion.is_none() {
            spec.conversion = Some(CustomResourceConversion { strategy: "None".to_owned(), webhook: None });
        }
        let webhook = spec.conversion.as_mut().and_then(|conversion| conversion.webhook.as_mut());
        let client = webhook.and_then(|webhook| webhook.client_config.as_mut());
        if let Some(service) = client.and_then(|client| client.service.as_mut()) {
            default(&mut service.port, 443);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(CustomResourceDefinitionStatus {
            accepted_names: Some(CustomResourceDefinitionNames::default()),
            stored_versions: Some(storage_version(self).into_iter().collect()),
            ..CustomResourceDefinitionStatus::default()
        });
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        // A version that objects were ever stored in stays listed until a migration takes it off.
        if let Some(version) = storage_version(self) {
            let stored = self.status.get_or_insert_default().stored_versions.get_or_insert_default();
            if !stored.contains(&version) {
                stored.push(version);
            }
        }
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::create(self, errors);
        validate::update(self, old, errors);
    }

    fn columns() -> Vec<Column> {
        name_and_creation()
    }

    fn cells(&self, _: Timestamp) -> Vec<Value> {
        vec![name_cell(self), created_at(self)]
    }
}

/// The version in which objects are stored.
pub fn storage_version(crd: &CustomResourceDefinition) -> Option<String> {
    crd.spec.versions.iter().find(|version| version.storage).map(|version| version.name.clone())
}

/// Whether the definition has a condition of this type that is `True`.
pub fn has_condition(crd: &CustomResourceDefinition, kind: &str) -> bool {
    let conditions = crd.status.as_ref().map(|status| items(&status.conditions)).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether names and what follows from them are settled.
pub fn is_established(crd: &CustomResourceDefinition) -> bool {
    has_condition(crd, "Established")
}

/// The name that the definition must have.
pub fn expected_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.{}", crd.spec.names.plural, crd.spec.group)
}

/// The singular name.
pub fn singular(crd: &CustomResourceDefinition) -> &str {
    text(&crd.spec.names.singular)
}

/// The resource `customresourcedefinitions`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CustomResourceDefinition>().short(&["crd", "crds"]).category("api-extensions").status()
}
