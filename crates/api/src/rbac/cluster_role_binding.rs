//! `rbac.authorization.k8s.io/v1` ClusterRoleBinding.

use super::rules;
use crate::common::names::{self, Messages};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::Value;

crate::kind!(ClusterRoleBinding);

impl Rules for ClusterRoleBinding {
    fn check_name(name: &str, prefix: bool) -> Messages {
        names::path_segment(name, prefix)
    }

    fn set_defaults(&mut self) {
        rules::binding_defaults(&mut self.role_ref, &mut self.subjects);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        rules::validate_binding(&self.role_ref, &self.subjects, &["ClusterRole"], false, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        rules::validate_same_role(&self.role_ref, &old.role_ref, errors);
    }

    fn columns() -> Vec<Column> {
        rules::binding_columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        rules::binding_cells(&self.metadata, &self.role_ref, &self.subjects, now)
    }
}

/// The resource `clusterrolebindings`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ClusterRoleBinding>()
}
