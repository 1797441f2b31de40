//! `flowcontrol.apiserver.k8s.io/v1` PriorityLevelConfiguration.

use crate::common::{default, first_generation, next_generation, numbers};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::flowcontrol::v1::{
    PriorityLevelConfiguration, PriorityLevelConfigurationSpec, PriorityLevelConfigurationStatus,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(PriorityLevelConfiguration);

impl Rules for PriorityLevelConfiguration {
    fn set_defaults(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        if let Some(limited) = &mut spec.limited {
            default(&mut limited.nominal_concurrency_shares, 30);
            default(&mut limited.lendable_percent, 0);
            if let Some(queuing) =
                limited.limit_response.as_mut().and_then(|response| response.queuing.as_mut())
            {
                crate::common::default_nonzero(&mut queuing.hand_size, 8);
                crate::common::default_nonzero(&mut queuing.queues, 64);
                crate::common::default_nonzero(&mut queuing.queue_length_limit, 50);
            }
        }
        if spec.type_ == "Exempt" {
            let exempt = spec.exempt.get_or_insert_default();
            default(&mut exempt.nominal_concurrency_shares, 0);
            default(&mut exempt.lendable_percent, 0);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(PriorityLevelConfigurationStatus::default());
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
        let empty = PriorityLevelConfigurationSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let path = FieldPath::new("spec");
        match (spec.type_.as_str(), &spec.limited, &spec.exempt) {
            ("Exempt", Some(_), _) => {
                errors.forbidden(path.child("limited"), "must be nil if the type is not Limited");
            }
            ("Exempt", None, _) => {}
            ("Limited", _, Some(_)) => {
                errors.forbidden(path.child("exempt"), "must be nil if the type is Limited");
            }
            ("Limited", None, None) => {
                errors.required(path.child("limited"), "must not be empty when type is Limited");
            }
            ("Limited", Some(limited), None) => {
                let at = path.child("limited");
                let shares = limited.nominal_concurrency_shares;
                numbers::optional_not_negative(shares, at.child("nominalConcurrencyShares"), errors);
                let lendable = limited.lendable_percent.unwrap_or_default();
                if !(0..=100).contains(&lendable) {
                    errors.invalid(
                        at.child("lendablePercent"),
                        lendable,
                        "must be between 0 and 100, inclusive",
                    );
                }
            }
            (other, ..) => errors.not_supported(path.child("type"), other, &["Exempt", "Limited"]),
        }
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let status = self.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let types = conditions.iter().map(|condition| condition.type_.as_deref().unwrap_or_default());
        crate::common::status::condition_types(types, errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Type", "string", "Whether its requests are limited."),
            Column::new("NominalConcurrencyShares", "string", "Its part of the server."),
            Column::new("Queues", "string", "How many queues it has."),
            Column::new("HandSize", "string", "How many queues a flow may use."),
            Column::new("QueueLengthLimit", "string", "How long a queue may grow."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let limited = spec.and_then(|spec| spec.limited.as_ref());
        let queuing = limited.and_then(|l| l.limit_response.as_ref()).and_then(|r| r.queuing.as_ref());
        let none = |number: Option<i32>| number.map_or_else(|| json!("<none>"), |number| json!(number));
        vec![
            name_cell(self),
            json!(spec.map(|spec| spec.type_.as_str()).unwrap_or_default()),
            none(limited.and_then(|limited| limited.nominal_concurrency_shares)),
            none(queuing.and_then(|queuing| queuing.queues)),
            none(queuing.and_then(|queuing| queuing.hand_size)),
            none(queuing.and_then(|queuing| queuing.queue_length_limit)),
            age_cell(self, now),
        ]
    }
}

/// The resource `prioritylevelconfigurations`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PriorityLevelConfiguration>().status()
}
