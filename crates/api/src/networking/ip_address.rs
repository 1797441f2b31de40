//! `networking.k8s.io/v1` IPAddress.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::networking::v1::IPAddress;

crate::kind!(IPAddress);

impl Rules for IPAddress {}

/// The resource `ipaddresses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<IPAddress>().short(&["ip"])
}
