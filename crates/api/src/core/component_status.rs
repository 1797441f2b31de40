//! `v1` ComponentStatus: the health of a control plane component, computed when it is read, never stored.

use crate::common::items;
use crate::resource::name_cell;
use crate::{Column, ResourceDef, Rules, Verb};
use k8s_openapi::api::core::v1::ComponentStatus;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

crate::kind!(ComponentStatus);

impl Rules for ComponentStatus {
    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "string", "Whether the component is healthy."),
            Column::new("Message", "string", "What it says about itself."),
            Column::new("Error", "string", "Why it could not be asked."),
        ]
    }

    fn cells(&self, _: Timestamp) -> Vec<Value> {
        let healthy = items(&self.conditions).iter().find(|condition| condition.type_ == "Healthy");
        let state = match healthy.map(|condition| condition.status.as_str()) {
            Some("True") => "Healthy",
            Some("False") => "Unhealthy",
            _ => "Unknown",
        };
        let message = healthy.and_then(|condition| condition.message.clone()).unwrap_or_default();
        let error = healthy.and_then(|condition| condition.error.clone()).unwrap_or_default();
        vec![name_cell(self), json!(state), json!(message), json!(error)]
    }
}

/// The resource `componentstatuses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ComponentStatus>().short(&["cs"]).verbs(&[Verb::Get, Verb::List])
}
