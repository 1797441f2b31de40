//! `admissionregistration.k8s.io/v1` ValidatingWebhookConfiguration.

use super::webhooks::{self, Fields, Webhook};
use crate::common::{first_generation, items, next_generation};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::{Value, json};

crate::kind!(ValidatingWebhookConfiguration);

impl Rules for ValidatingWebhookConfiguration {
    fn set_defaults(&mut self) {
        for webhook in self.webhooks.iter_mut().flatten() {
            let fields = Fields {
                failure_policy: &mut webhook.failure_policy,
                match_policy: &mut webhook.match_policy,
                namespace_selector: &mut webhook.namespace_selector,
                object_selector: &mut webhook.object_selector,
                timeout_seconds: &mut webhook.timeout_seconds,
                client_config: &mut webhook.client_config,
                rules: &mut webhook.rules,
            };
            fields.set_defaults();
        }
    }

    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.webhooks != old.webhooks);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let webhooks = items(&self.webhooks).iter().map(|webhook| Webhook {
            name: &webhook.name,
            review_versions: &webhook.admission_review_versions,
            client_config: &webhook.client_config,
            failure_policy: &webhook.failure_policy,
            match_policy: &webhook.match_policy,
            side_effects: &webhook.side_effects,
            timeout_seconds: webhook.timeout_seconds,
            namespace_selector: &webhook.namespace_selector,
            object_selector: &webhook.object_selector,
            rules: items(&webhook.rules),
            match_conditions: &webhook.match_conditions,
        });
        webhooks::validate(webhooks, errors);
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("Webhooks", "integer", "How many webhooks it has."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![name_cell(self), json!(items(&self.webhooks).len()), age_cell(self, now)]
    }
}

/// The resource `validatingwebhookconfigurations`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ValidatingWebhookConfiguration>().category("api-extensions")
}
