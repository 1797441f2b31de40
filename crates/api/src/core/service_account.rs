//! `v1` ServiceAccount.

use crate::common::items;
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use machinery::GroupVersionKind;
use serde_json::{Value, json};

crate::kind!(ServiceAccount);

impl Rules for ServiceAccount {
    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Secrets", "string", "How many secrets its pods may mount."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![name_cell(self), json!(items(&self.secrets).len()), age_cell(self, now)]
    }
}

/// The resource `serviceaccounts`.
pub fn def() -> ResourceDef {
    let token = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    ResourceDef::of::<ServiceAccount>().short(&["sa"]).subresource("token", Some(token), &[Verb::Create])
}
