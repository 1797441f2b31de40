//! `policy/v1` PodDisruptionBudget.

use crate::common::{first_generation, int_or_percent, next_generation, selector};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(PodDisruptionBudget);

impl Rules for PodDisruptionBudget {
    fn prepare_create(&mut self) {
        self.status = Some(PodDisruptionBudgetStatus {
            current_healthy: Some(0),
            desired_healthy: Some(0),
            disruptions_allowed: Some(0),
            expected_pods: Some(0),
            ..PodDisruptionBudgetStatus::default()
        });
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
        let Some(spec) = &self.spec else { return };
        let path = FieldPath::new("spec");
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            errors.invalid(path.clone(), json!({}), "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, value) in
            [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
        {
            if let Some(value) = value {
                int_or_percent::validate(value, &path.child(field), errors);
                int_or_percent::validate_not_over_100(value, &path.child(field), errors);
            }
        }
        if let Some(pods) = &spec.selector {
            selector::validate(pods, &path.child("selector"), errors);
        }
        const POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];
        if let Some(policy) = &spec.unhealthy_pod_eviction_policy
            && !POLICIES.contains(&policy.as_str())
        {
            errors.not_supported(path.child("unhealthyPodEvictionPolicy"), policy, POLICIES);
        }
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let counts = [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ];
        crate::common::status::counts(&counts, errors);
        let conditions = status.conditions.as_deref().unwrap_or_default();
        crate::common::status::condition_types(conditions.iter().map(|c| c.type_.as_str()), errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Min Available", "string", "Pods that must stay."),
            Column::new("Max Unavailable", "string", "Pods that may be missing."),
            Column::new("Allowed Disruptions", "integer", "Pods that may be evicted now."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let cell = |value: Option<&IntOrString>| {
            json!(value.map_or_else(|| "N/A".to_owned(), int_or_percent::display))
        };
        let allowed = self.status.as_ref().and_then(|status| status.disruptions_allowed);
        vec![
            name_cell(self),
            cell(spec.and_then(|spec| spec.min_available.as_ref())),
            cell(spec.and_then(|spec| spec.max_unavailable.as_ref())),
            json!(allowed.unwrap_or_default()),
            age_cell(self, now),
        ]
    }
}

/// The resource `poddisruptionbudgets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PodDisruptionBudget>().short(&["pdb"]).status()
}
