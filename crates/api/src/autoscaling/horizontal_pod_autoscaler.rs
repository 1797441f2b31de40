//! `autoscaling/v2` HorizontalPodAutoscaler.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

crate::kind!(HorizontalPodAutoscaler);

impl Rules for HorizontalPodAutoscaler {}

/// The resource `horizontalpodautoscalers`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<HorizontalPodAutoscaler>().short(&["hpa"]).category("all").status()
}
