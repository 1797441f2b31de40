//! `networking.k8s.io/v1` IngressClass.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::networking::v1::IngressClass;

crate::kind!(IngressClass);

impl Rules for IngressClass {}

/// The resource `ingressclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<IngressClass>()
}
