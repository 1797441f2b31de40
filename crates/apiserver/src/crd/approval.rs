//! The condition `KubernetesAPIApprovalPolicyConformant`: groups below `k8s.io` and `kubernetes.io` belong to the
//! community, and definitions of them say who approved them.

use super::names::set_condition;
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::k8s_openapi::jiff::Timestamp;

const ANNOTATION: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|owned| group == *owned || group.ends_with(&format!(".{owned}")))
}

/// Sets the condition of a definition in a protected group.
pub(super) fn judge(crd: &mut CustomResourceDefinition, now: Timestamp) {
    if !is_protected(&crd.spec.group) {
        return;
    }
    let given =
        crd.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION)).cloned().unwrap_or_default();
    let must = format!("protected groups must have approval annotation {ANNOTATION:?}");
    let (approved, reason, message) = if given.is_empty() {
        (false, "MissingAnnotation", format!("{must}, {SEE}"))
    } else if given.starts_with("unapproved") {
        (false, "UnapprovedAnnotation", format!("not approved: {given:?}"))
    } else if given.starts_with("https://") || given.starts_with("http://") {
        (true, "ApprovedAnnotation", format!("approved in {given}"))
    } else {
        (
            false,
            "InvalidAnnotation",
            format!("{must} with either a URL or a reason starting with \"unapproved\", {SEE}"),
        )
    };
    set_condition(crd, "KubernetesAPIApprovalPolicyConformant", approved, reason, &message, now);
}
