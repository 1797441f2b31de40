//! `resource.k8s.io/v1` DeviceClass.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::resource::v1::DeviceClass;

crate::kind!(DeviceClass);

impl Rules for DeviceClass {}

/// The resource `deviceclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<DeviceClass>()
}
