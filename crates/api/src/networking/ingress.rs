//! `networking.k8s.io/v1` Ingress.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::networking::v1::Ingress;

crate::kind!(Ingress);

impl Rules for Ingress {}

/// The resource `ingresses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Ingress>().short(&["ing"]).status()
}
