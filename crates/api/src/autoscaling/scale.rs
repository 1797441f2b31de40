//! `autoscaling/v1` Scale: what the `scale` subresources read and write, never stored.

use k8s_openapi::api::autoscaling::v1::Scale;

crate::kind!(Scale);
