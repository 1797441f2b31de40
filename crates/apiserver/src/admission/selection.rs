//! Which requests webhooks and policies are about: rules and selectors.

use super::namespace_lifecycle::namespace;
use crate::contract::{AdmissionRequest, Context};
use api::common::{items, selector, text};
use api::k8s_openapi::api::admissionregistration::v1::RuleWithOperations;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use machinery::Status;

/// Whether the labels of the object, as it is or as it was, are wanted.
pub(super) fn selects_object(
    wanted: &Option<LabelSelector>,
    request: &AdmissionRequest,
) -> Result<bool, Status> {
    let Some(wanted) = wanted else { return Ok(true) };
    let wanted = selector::convert(Some(wanted)).map_err(Status::internal)?;
    if wanted.is_everything() {
        return Ok(true);
    }
    let labeled = |meta: Option<&ObjectMeta>| {
        meta.is_some_and(|meta| wanted.matches(&meta.labels.clone().unwrap_or_default()))
    };
    Ok(labeled(request.object.as_deref().map(|o| o.meta()))
        || labeled(request.old.as_deref().map(|o| o.meta())))
}

/// Whether the labels of the namespace are wanted; what is in none always is.
pub(super) async fn selects_namespace(
    wanted: &Option<LabelSelector>,
    context: &Context,
    request: &AdmissionRequest,
) -> Result<bool, Status> {
    let Some(wanted) = wanted else { return Ok(true) };
    let wanted = selector::convert(Some(wanted)).map_err(Status::internal)?;
    if wanted.is_everything() {
        return Ok(true);
    }
    let labels = if request.is("", "namespaces") {
        let object = request.object.as_deref().or(request.old.as_deref());
        object.and_then(|object| object.meta().labels.clone())
    } else if request.namespace.is_empty() {
        return Ok(true);
    } else {
        let found = namespace(context, &request.namespace).await?;
        found.and_then(|found| found.meta().labels.clone())
    };
    Ok(wanted.matches(&labels.unwrap_or_default()))
}

fn listed(list: &Option<Vec<String>>, wanted: &str) -> bool {
    items(list).iter().any(|item| item == "*" || item == wanted)
}

/// Whether a rule is about a request; `any_version` is `matchPolicy: Equivalent`.
pub(super) fn matches(rule: &RuleWithOperations, request: &AdmissionRequest, any_version: bool) -> bool {
    let gvk = &request.def.gvk;
    listed(&rule.operations, request.operation.as_str())
        && listed(&rule.api_groups, &gvk.group)
        && (any_version || listed(&rule.api_versions, &gvk.version))
        && items(&rule.resources)
            .iter()
            .any(|r| resource_matches(r, &request.def.plural, &request.subresource))
        && match text(&rule.scope) {
            "Namespaced" => request.def.namespaced,
            "Cluster" => !request.def.namespaced,
            _ => true,
        }
}

fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    let (wanted, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
    let sub_matches = match sub {
        "*" => true,
        sub => sub == subresource,
    };
    (wanted == "*" || wanted == resource) && sub_matches
}

#[cfg(test)]
mod tests {
    use super::resource_matches;

    #[test]
    fn rules_name_resources_and_subresources() {
        for (pattern, resource, subresource, expected) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "log", false),
            ("*/*", "pods", "log", true),
            ("*/scale", "deployments", "scale", true),
        ] {
            assert_eq!(resource_matches(pattern, resource, subresource), expected, "{pattern}");
        }
    }
}
