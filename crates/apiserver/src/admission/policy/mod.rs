//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: policies in CEL, put into force by bindings.
//!
//! Source: "Validating Admission Policy", "Mutating Admission Policy", KEP-3488, KEP-3962. Policies are compiled once
//! per generation. Deliberately absent: the server's own view of what policies say about types (`typeChecking` of
//! their status), conversion for `matchPolicy: Equivalent` (the object is judged in the version of the request).

mod compiled;
pub(crate) mod conditions;
mod mutating;
mod params;
mod validating;

pub(super) use mutating::Mutating;
pub(super) use validating::Validating;

use super::selection::{matches, selects_namespace, selects_object};
use crate::contract::{AdmissionRequest, Context};
use api::common::{items, text};
use api::k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, RuleWithOperations,
};
use machinery::Status;

/// Requests that no policy sees: it could make itself impossible to remove.
fn exempt(request: &AdmissionRequest) -> bool {
    request.def.gvk.group == "admissionregistration.k8s.io"
        || matches!(
            (request.def.gvk.group.as_ref(), request.def.plural.as_ref()),
            ("authentication.k8s.io", "tokenreviews" | "selfsubjectreviews")
                | (
                    "authorization.k8s.io",
                    "localsubjectaccessreviews"
                        | "selfsubjectaccessreviews"
                        | "selfsubjectrulesreviews"
                        | "subjectaccessreviews"
                )
        )
}

fn plain(rule: &NamedRuleWithOperations) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: rule.api_groups.clone(),
        api_versions: rule.api_versions.clone(),
        operations: rule.operations.clone(),
        resources: rule.resources.clone(),
        scope: rule.scope.clone(),
    }
}

/// Whether constraints are about a request. Without rules they are about everything that the policy is about.
async fn concerns(
    wanted: &MatchResources,
    context: &Context,
    request: &AdmissionRequest,
) -> Result<bool, Status> {
    let any_version = text(&wanted.match_policy) != "Exact";
    let named = |rule: &NamedRuleWithOperations| {
        let names = items(&rule.resource_names);
        names.is_empty() || names.contains(&request.name)
    };
    let fits = |rule: &NamedRuleWithOperations| named(rule) && matches(&plain(rule), request, any_version);
    if items(&wanted.exclude_resource_rules).iter().any(fits) {
        return Ok(false);
    }
    let rules = items(&wanted.resource_rules);
    if !rules.is_empty() && !rules.iter().any(fits) {
        return Ok(false);
    }
    Ok(selects_object(&wanted.object_selector, request)?
        && selects_namespace(&wanted.namespace_selector, context, request).await?)
}
