//! `rbac.authorization.k8s.io/v1` ClusterRole.

use super::rules::validate_rules;
use crate::common::names::{self, Messages};
use crate::common::print::{created_at, name_and_creation};
use crate::common::{items, selector};
use crate::resource::name_cell;
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

crate::kind!(ClusterRole);

impl Rules for ClusterRole {
    fn check_name(name: &str, prefix: bool) -> Messages {
        names::path_segment(name, prefix)
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate_rules(items(&self.rules), false, errors);
        for (at, selector) in
            self.aggregation_rule.iter().flat_map(|rule| items(&rule.cluster_role_selectors)).enumerate()
        {
            let path = FieldPath::new("aggregationRule").child("clusterRoleSelectors").index(at);
            selector::validate(selector, &path, errors);
        }
    }

    fn columns() -> Vec<Column> {
        name_and_creation()
    }

    fn cells(&self, _: Timestamp) -> Vec<Value> {
        vec![name_cell(self), created_at(self)]
    }
}

/// The resource `clusterroles`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ClusterRole>()
}
