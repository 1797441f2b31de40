//! `autoscaling/v1` HorizontalPodAutoscaler: the stored `v2` object seen through the one metric that `v1`
//! knows. What it cannot say travels in annotations.

use super::horizontal_pod_autoscaler as hpa;
use super::{convert, horizontal_pod_autoscaler::columns};
use crate::common::{default, first_generation, next_generation};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::autoscaling::v1::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus};
use k8s_openapi::api::autoscaling::v2;
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::Value;

crate::kind!(HorizontalPodAutoscaler);

impl Rules for HorizontalPodAutoscaler {
    fn set_defaults(&mut self) {
        default(&mut self.spec.min_replicas, 1);
    }

    fn prepare_create(&mut self) {
        self.status = Some(HorizontalPodAutoscalerStatus::default());
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
        let mut stored = convert::to_v2(self);
        stored.set_defaults();
        stored.validate_create(errors);
    }

    fn columns() -> Vec<Column> {
        columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        hpa::cells(&convert::to_v2(self), now)
    }
}

/// The resource `horizontalpodautoscalers` of `autoscaling/v1`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<HorizontalPodAutoscaler>()
        .short(&["hpa"])
        .category("all")
        .status()
        .stored_as::<HorizontalPodAutoscaler, v2::HorizontalPodAutoscaler>(convert::to_v2, convert::from_v2)
}
