//! `rbac.authorization.k8s.io/v1` Role.

use super::rules::validate_rules;
use crate::common::items;
use crate::common::names::{self, Messages};
use crate::common::print::{created_at, name_and_creation};
use crate::resource::name_cell;
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::Role;
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::Value;

crate::kind!(Role);

impl Rules for Role {
    fn check_name(name: &str, prefix: bool) -> Messages {
        names::path_segment(name, prefix)
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate_rules(items(&self.rules), true, errors);
    }

    fn columns() -> Vec<Column> {
        name_and_creation()
    }

    fn cells(&self, _: Timestamp) -> Vec<Value> {
        vec![name_cell(self), created_at(self)]
    }
}

/// The resource `roles`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Role>()
}
