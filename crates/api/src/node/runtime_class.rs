//! `node.k8s.io/v1` RuntimeClass.

use crate::{ResourceDef, Rules};
use k8s_openapi::api::node::v1::RuntimeClass;

crate::kind!(RuntimeClass);

impl Rules for RuntimeClass {}

/// The resource `runtimeclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<RuntimeClass>()
}
