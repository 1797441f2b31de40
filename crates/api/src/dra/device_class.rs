//! `resource.k8s.io/v1` DeviceClass: a kind of devices, selected by expressions.

use crate::common::{first_generation, items, next_generation};
use crate::{ResourceDef, Rules};
use k8s_openapi::api::resource::v1::DeviceClass;
use machinery::{FieldErrors, FieldPath};

crate::kind!(DeviceClass);

impl Rules for DeviceClass {
    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        for (at, selector) in items(&self.spec.selectors).iter().enumerate() {
            if selector.cel.as_ref().is_none_or(|cel| cel.expression.is_empty()) {
                errors.required(FieldPath::new("spec").child("selectors").index(at).child("cel"), "");
            }
        }
    }
}

/// The resource `deviceclasses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<DeviceClass>()
}
