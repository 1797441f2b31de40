//! `restartPolicy` and `restartPolicyRules` of containers (KEP-5307).

use crate::common::{items, text};
use k8s_openapi::api::core::v1::ContainerRestartRule;
use machinery::{FieldErrors, FieldPath};

const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const MAX_RULES: usize = 20;
const MAX_CODES: usize = 255;

/// Reports an unknown policy, rules without a policy, and bad rules of a container at `path`.
pub(super) fn validate(
    policy: &Option<String>,
    rules: &Option<Vec<ContainerRestartRule>>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let rules = items(rules);
    match policy {
        None if !rules.is_empty() => errors.required(
            path.child("restartPolicy"),
            "must specify restartPolicy when restartPolicyRules are used",
        ),
        Some(policy) if !POLICIES.contains(&policy.as_str()) => {
            errors.not_supported(path.child("restartPolicy"), policy, POLICIES);
        }
        _ => {}
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > MAX_RULES {
        errors.too_many(path.clone(), rules.len(), MAX_RULES);
    }
    for (at, rule) in rules.iter().enumerate() {
        let at = path.index(at);
        if rule.action != "Restart" {
            errors.not_supported(at.child("action"), &rule.action, &["Restart"]);
        }
        let at = at.child("exitCodes");
        let Some(codes) = &rule.exit_codes else {
            errors.required(at, "must be specified");
            continue;
        };
        if !["In", "NotIn"].contains(&codes.operator.as_str()) {
            errors.not_supported(at.child("operator"), &codes.operator, &["In", "NotIn"]);
        }
        let values = items(&codes.values);
        if values.len() > MAX_CODES {
            errors.too_many(at.child("values"), values.len(), MAX_CODES);
        }
    }
}

/// Whether the container is restarted whatever its exit code: a sidecar, among init containers.
pub(super) fn is_always(policy: &Option<String>) -> bool {
    text(policy) == "Always"
}
