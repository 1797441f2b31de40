//! `apiregistration.k8s.io/v1` APIService: who serves a group and version.

use crate::common::{items, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, APIServiceStatus,
};
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(APIService);

impl Rules for APIService {
    fn check_name(name: &str, prefix: bool) -> crate::common::names::Messages {
        crate::common::names::path_segment(name, prefix)
    }

    fn set_defaults(&mut self) {
        if let Some(service) = self.spec.as_mut().and_then(|spec| spec.service.as_mut()) {
            crate::common::default(&mut service.port, 443);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(APIServiceStatus::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = APIServiceSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let (group, version) = (text(&spec.group), text(&spec.version));
        let (name, expected) = (text(&self.metadata.name), format!("{version}.{group}"));
        if name != expected {
            errors.invalid(
                FieldPath::new("metadata").child("name"),
                name,
                format!("must be `spec.version+\".\"+spec.group`: {expected:?}"),
            );
        }
        let path = FieldPath::new("spec");
        let messages = machinery::names::dns1035_label(version);
        crate::common::names::report(path.child("version"), version, messages, errors);
        if !group.is_empty() {
            let messages = machinery::names::dns1123_subdomain(group);
            crate::common::names::report(path.child("group"), group, messages, errors);
        }
        for (field, value, max) in [
            ("groupPriorityMinimum", spec.group_priority_minimum, 20_000),
            ("versionPriority", spec.version_priority, 1000),
        ] {
            if !(1..=max).contains(&value) {
                errors.invalid(path.child(field), value, format!("must be positive and less than {max}"));
            }
        }
        let has_bundle = spec.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty());
        if spec.insecure_skip_tls_verify == Some(true) && has_bundle {
            errors.invalid(
                path.child("insecureSkipTLSVerify"),
                true,
                "may not be true if caBundle is present",
            );
        }
        match &spec.service {
            None if has_bundle => {
                errors.invalid(path.child("caBundle"), "", "local APIServices may not have a caBundle")
            }
            Some(service) => {
                for (field, value) in [("namespace", &service.namespace), ("name", &service.name)] {
                    if text(value).is_empty() {
                        errors.required(path.child("service").child(field), "");
                    }
                }
            }
            None => {}
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Service", "string", "Who serves it."),
            Column::new("Available", "string", "Whether it is being served."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let service = self.spec.as_ref().and_then(|spec| spec.service.as_ref());
        let service = service.map(|s| format!("{}/{}", text(&s.namespace), text(&s.name)));
        let conditions = self.status.as_ref().map(|status| items(&status.conditions)).unwrap_or_default();
        let available = conditions.iter().find(|condition| condition.type_ == "Available");
        let available = match available {
            Some(condition) if condition.status == "True" => "True".to_owned(),
            Some(condition) => format!("{} ({})", condition.status, text(&condition.reason)),
            None => "Unknown".to_owned(),
        };
        vec![
            name_cell(self),
            json!(service.unwrap_or_else(|| "Local".to_owned())),
            json!(available),
            age_cell(self, now),
        ]
    }
}

/// The resource `apiservices`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<APIService>().category("api-extensions").status()
}
