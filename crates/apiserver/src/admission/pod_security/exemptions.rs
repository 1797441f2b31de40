//! PodSecurityConfiguration: what namespaces without labels ask for, and whom the standards do not concern.

use super::policy::Policy;
use machinery::Status;
use serde_json::Value;
use std::collections::BTreeMap;

/// The configuration of the plugin; the default is privileged and exempts nobody.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) defaults: Policy,
    usernames: Vec<String>,
    runtime_classes: Vec<String>,
    namespaces: Vec<String>,
}

fn wrong(why: impl std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "failed to start the admission plugin PodSecurity: {why}; see its PodSecurityConfiguration in the file of \
         --admission-control-config-file"
    ))
}

impl Settings {
    /// Reads a `pod-security.admission.config.k8s.io/v1` PodSecurityConfiguration.
    pub(super) fn read(configuration: Option<&Value>) -> Result<Self, Status> {
        let Some(tree) = configuration else { return Ok(Self::default()) };
        // The defaults read as the labels that they stand in for.
        let mut labels = BTreeMap::new();
        for (key, value) in tree.get("defaults").and_then(Value::as_object).into_iter().flatten() {
            let text = value.as_str().ok_or_else(|| wrong(format!("defaults.{key} must be a string")))?;
            if !text.is_empty() {
                labels.insert(format!("pod-security.kubernetes.io/{key}"), text.to_owned());
            }
        }
        let mut errors = machinery::FieldErrors::new();
        super::policy::validate(Some(&labels), &mut errors);
        if !errors.is_empty() {
            return Err(wrong(format!("defaults: {errors:?}")));
        }
        let list = |key: &str| -> Vec<String> {
            let found =
                tree.get("exemptions").and_then(|exemptions| exemptions.get(key)).and_then(Value::as_array);
            found.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        Ok(Self {
            defaults: Policy::of(Some(&labels)),
            usernames: list("usernames"),
            runtime_classes: list("runtimeClasses"),
            namespaces: list("namespaces"),
        })
    }

    /// What exempts a request, in upstream's order; the audit log says so.
    pub(super) fn exempts(&self, user: &str, namespace: &str, runtime_class: &str) -> Option<&'static str> {
        let has = |list: &[String], value: &str| !value.is_empty() && list.iter().any(|item| item == value);
        if has(&self.namespaces, namespace) {
            return Some("namespace");
        }
        if has(&self.usernames, user) {
            return Some("user");
        }
        has(&self.runtime_classes, runtime_class).then_some("runtimeClass")
    }
}
