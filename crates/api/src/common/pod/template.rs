//! Validation of pod templates.

use super::spec;
use crate::common::{items, names, text};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use machinery::{FieldErrors, FieldPath};

/// Reports what is wrong with a template at `path`.
pub fn validate(template: &PodTemplateSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(meta) = &template.metadata {
        let path = path.child("metadata");
        if let Some(labels) = &meta.labels {
            names::validate_labels(labels, &path.child("labels"), errors);
        }
        if let Some(annotations) = &meta.annotations {
            names::validate_annotations(annotations, &path.child("annotations"), errors);
        }
    }
    let empty = PodSpec::default();
    let pod = template.spec.as_ref().unwrap_or(&empty);
    spec::validate(pod, &path.child("spec"), errors);
    if !items(&pod.ephemeral_containers).is_empty() {
        errors.forbidden(
            path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// Reports, besides, what pods that are kept running may not say. `owner` is the kind that messages name.
pub fn validate_running(template: &PodTemplateSpec, owner: &str, path: &FieldPath, errors: &mut FieldErrors) {
    validate(template, path, errors);
    let Some(spec) = &template.spec else { return };
    let policy = text(&spec.restart_policy);
    if policy != "Always" && !policy.is_empty() {
        errors.not_supported(path.child("spec").child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        errors.forbidden(
            path.child("spec").child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {owner} is not Supported"),
        );
    }
}

/// A container's names and images, as wide tables print them.
pub fn container_cells(template: Option<&PodTemplateSpec>) -> (String, String) {
    let containers =
        template.and_then(|t| t.spec.as_ref()).map(|s| s.containers.as_slice()).unwrap_or_default();
    let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    let images: Vec<&str> = containers.iter().map(|c| text(&c.image)).collect();
    (names.join(","), images.join(","))
}
