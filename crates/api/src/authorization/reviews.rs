//! What the reviews of access have in common.

use crate::common::{items, text};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec,
};
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

/// Reports a question about neither or both of a resource and a path.
pub(super) fn validate_attributes(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
    errors: &mut FieldErrors,
) {
    const ONE: &str = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    let spec = FieldPath::new("spec");
    match (resource, path) {
        (Some(_), Some(_)) => errors.invalid(
            spec.child("nonResourceAttributes"),
            Value::Null,
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(spec.child("resourceAttributes"), Value::Null, ONE),
        _ => {}
    }
}

/// Reports a question about nobody.
pub(super) fn validate_subject(spec: &SubjectAccessReviewSpec, errors: &mut FieldErrors) {
    if text(&spec.user).is_empty() && items(&spec.groups).is_empty() {
        errors.invalid(
            FieldPath::new("spec").child("user"),
            "",
            "at least one of user or group must be specified",
        );
    }
    validate_attributes(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref(), errors);
}
