//! Kinds of the group `autoscaling`.

pub mod horizontal_pod_autoscaler;
pub mod horizontal_pod_autoscaler_v1;
pub mod scale;
