//! `discovery.k8s.io/v1` EndpointSlice.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::discovery::v1::EndpointSlice;

crate::kind!(EndpointSlice);

impl Rules for EndpointSlice {}

/// The resource `endpointslices`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<EndpointSlice>()
}
