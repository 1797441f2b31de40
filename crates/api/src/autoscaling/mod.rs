//! Kinds of the group `autoscaling`.

mod convert;
pub mod horizontal_pod_autoscaler;
pub mod horizontal_pod_autoscaler_v1;
mod legacy_metrics;
mod metrics;
pub mod scale;
