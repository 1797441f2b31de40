//! What validating and mutating webhooks have in common.

use crate::common::{default, default_text, items, names, selector, text};
use k8s_openapi::api::admissionregistration::v1::{MatchCondition, RuleWithOperations, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::{FieldErrors, FieldPath};
use serde_json::json;
use std::collections::BTreeSet;

/// The fields of a webhook of either kind, to fill.
pub(super) struct Fields<'a> {
    pub(super) failure_policy: &'a mut Option<String>,
    pub(super) match_policy: &'a mut Option<String>,
    pub(super) namespace_selector: &'a mut Option<LabelSelector>,
    pub(super) object_selector: &'a mut Option<LabelSelector>,
    pub(super) timeout_seconds: &'a mut Option<i32>,
    pub(super) client_config: &'a mut WebhookClientConfig,
    pub(super) rules: &'a mut Option<Vec<RuleWithOperations>>,
}

impl Fields<'_> {
    /// Fills a webhook.
    pub(super) fn set_defaults(self) {
        default_text(self.failure_policy, "Fail");
        default_text(self.match_policy, "Equivalent");
        default(self.namespace_selector, LabelSelector::default());
        default(self.object_selector, LabelSelector::default());
        default(self.timeout_seconds, 10);
        if let Some(service) = &mut self.client_config.service {
            default(&mut service.port, 443);
        }
        rule_defaults(self.rules);
    }
}

/// Fills rules: without a scope they hold for both.
pub(super) fn rule_defaults(rules: &mut Option<Vec<RuleWithOperations>>) {
    for rule in rules.iter_mut().flatten() {
        default_text(&mut rule.scope, "*");
    }
}

/// A webhook of either kind, to check.
pub(super) struct Webhook<'a> {
    pub(super) name: &'a str,
    pub(super) review_versions: &'a [String],
    pub(super) client_config: &'a WebhookClientConfig,
    pub(super) failure_policy: &'a Option<String>,
    pub(super) match_policy: &'a Option<String>,
    pub(super) side_effects: &'a str,
    pub(super) timeout_seconds: Option<i32>,
    pub(super) namespace_selector: &'a Option<LabelSelector>,
    pub(super) object_selector: &'a Option<LabelSelector>,
    pub(super) rules: &'a [RuleWithOperations],
    pub(super) match_conditions: &'a Option<Vec<MatchCondition>>,
}

/// Reports bad webhooks.
pub(super) fn validate<'a>(webhooks: impl Iterator<Item = Webhook<'a>>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, webhook) in webhooks.enumerate() {
        let path = FieldPath::new("webhooks").index(at);
        validate_one(&webhook, &path, errors);
        if !seen.insert(webhook.name) {
            errors.duplicate(path.child("name"), webhook.name);
        }
    }
}

fn validate_one(webhook: &Webhook<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    qualified(webhook.name, path.child("name"), errors);
    let at = path.child("admissionReviewVersions");
    if webhook.review_versions.is_empty() {
        errors.required(at, "must specify one of v1, v1beta1");
    } else if !webhook.review_versions.iter().any(|v| ["v1", "v1beta1"].contains(&v.as_str())) {
        errors.invalid(at, json!(webhook.review_versions), "must include at least one of v1, v1beta1");
    }
    for (at, rule) in webhook.rules.iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(at), errors);
    }
    one_of(text(webhook.failure_policy), &["Fail", "Ignore"], path.child("failurePolicy"), errors);
    one_of(text(webhook.match_policy), &["Equivalent", "Exact"], path.child("matchPolicy"), errors);
    if webhook.side_effects.is_empty() {
        errors.required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun");
    } else {
        one_of(webhook.side_effects, &["None", "NoneOnDryRun"], path.child("sideEffects"), errors);
    }
    if let Some(seconds) = webhook.timeout_seconds
        && !(1..=30).contains(&seconds)
    {
        let at = path.child("timeoutSeconds");
        errors.invalid(at, seconds, "the timeout value must be between 1 and 30 seconds");
    }
    for (field, labels) in
        [("namespaceSelector", webhook.namespace_selector), ("objectSelector", webhook.object_selector)]
    {
        if let Some(labels) = labels {
            selector::validate(labels, &path.child(field), errors);
        }
    }
    validate_client(webhook.client_config, &path.child("clientConfig"), errors);
    validate_conditions(webhook.match_conditions, path, errors);
}

fn qualified(name: &str, path: FieldPath, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let messages = names::dns1123_subdomain(name);
    if !messages.is_empty() {
        names::report(path, name, messages, errors);
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn one_of(value: &str, allowed: &[&str], path: FieldPath, errors: &mut FieldErrors) {
    if !value.is_empty() && !allowed.contains(&value) {
        errors.not_supported(path, value, allowed);
    }
}

fn validate_client(client: &WebhookClientConfig, path: &FieldPath, errors: &mut FieldErrors) {
    match (&client.url, &client.service) {
        (Some(url), None) => {
            let rest = url.strip_prefix("https://");
            let at = path.child("url");
            match rest {
                None => errors.invalid(
                    at,
                    url,
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]",
                ),
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    errors.invalid(at, url, "host must be specified; desired format: https://host[/path]");
                }
                Some(rest) if rest.contains(['?', '#']) => {
                    errors.invalid(at, url, "query parameters and fragments are not permitted in the URL");
                }
                Some(_) => {}
            }
        }
        (None, Some(service)) => {
            let at = path.child("service");
            for (field, value) in [("name", &service.name), ("namespace", &service.namespace)] {
                if value.is_empty() {
                    errors.required(at.child(field), format!("service {field} is required"));
                }
            }
            if let Some(port) = service.port
                && !(1..=65535).contains(&port)
            {
                errors.invalid(
                    at.child("port"),
                    port,
                    "port is not valid: must be between 1 and 65535, inclusive",
                );
            }
        }
        _ => errors.required(path.clone(), "exactly one of url or service is required"),
    }
}

/// Reports a rule that matches nothing, or a wildcard beside other values.
pub(super) fn validate_rule(rule: &RuleWithOperations, path: &FieldPath, errors: &mut FieldErrors) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (field, list) in [
        ("operations", &rule.operations),
        ("apiGroups", &rule.api_groups),
        ("apiVersions", &rule.api_versions),
        ("resources", &rule.resources),
    ] {
        let list = items(list);
        let at = path.child(field);
        if list.is_empty() {
            errors.required(at, "");
        } else if field != "resources" && list.len() > 1 && list.iter().any(|value| value == "*") {
            errors.invalid(at, json!(list), "if '*' is present, must not specify other values");
        }
    }
    for (at, operation) in items(&rule.operations).iter().enumerate() {
        one_of(operation, OPERATIONS, path.child("operations").index(at), errors);
    }
    one_of(text(&rule.scope), &["*", "Cluster", "Namespaced"], path.child("scope"), errors);
}

/// Reports match conditions that are incomplete or share a name.
pub(super) fn validate_conditions(
    conditions: &Option<Vec<MatchCondition>>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let path = path.child("matchConditions");
    let conditions = items(conditions);
    if conditions.len() > 64 {
        errors.too_many(path.clone(), conditions.len(), 64);
    }
    let mut seen = BTreeSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let at = path.index(at);
        if condition.name.is_empty() {
            errors.required(at.child("name"), "");
        } else {
            names::report(at.child("name"), &condition.name, names::qualified_name(&condition.name), errors);
        }
        if !seen.insert(&condition.name) {
            errors.duplicate(at.child("name"), &condition.name);
        }
        if condition.expression.trim().is_empty() {
            errors.required(at.child("expression"), "");
        }
    }
}
