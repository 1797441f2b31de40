//! What Deployment, ReplicaSet, DaemonSet and StatefulSet have in common: a selector that must fit the
//! template and never changes.

use super::json;
use super::selector::{self, printed};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::{FieldErrors, FieldPath};

/// Reports a selector that is missing, malformed, or does not select the pods of `template`.
pub fn validate_selector(
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    spec: &FieldPath,
    errors: &mut FieldErrors,
) {
    let path = spec.child("selector");
    if selector::is_empty(selector) {
        errors.required(path.clone(), "");
    }
    selector::validate(selector, &path, errors);
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    match selector::convert(Some(selector)) {
        Err(_) => errors.invalid(path, printed(selector), "invalid label selector"),
        Ok(wanted) if selector::is_empty(selector) || !wanted.matches(&labels) => errors.invalid(
            spec.child("template").child("metadata").child("labels"),
            json::map(&labels),
            "`selector` does not match template `labels`",
        ),
        Ok(_) => {}
    }
}

/// Reports a selector that changed.
pub fn validate_same_selector(new: &LabelSelector, old: &LabelSelector, errors: &mut FieldErrors) {
    errors.immutable(FieldPath::new("spec").child("selector"), new, old, printed(new));
}
