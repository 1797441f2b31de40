//! One webhook: which requests it wants to see, and what its failure means.

use super::review::Verdict;
use super::{call, review};
use crate::admission::namespace_lifecycle::namespace;
use crate::contract::{AdmissionRequest, Context};
use api::common::{items, selector, text};
use api::k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use machinery::Status;
use std::time::Duration;

const DEFAULT_SECONDS: i32 = 10;

/// A webhook of either kind.
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) client: WebhookClientConfig,
    pub(super) timeout: Duration,
    /// Whether it wants to see the object again after others changed it.
    pub(super) reinvoke: bool,
    rules: Vec<RuleWithOperations>,
    equivalent: bool,
    ignore_failure: bool,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
    side_effects: String,
    conditions: bool,
}

macro_rules! hook {
    ($webhook:expr, $reinvoke:expr) => {
        Hook {
            name: $webhook.name.clone(),
            client: $webhook.client_config.clone(),
            timeout: seconds($webhook.timeout_seconds),
            reinvoke: $reinvoke,
            rules: items(&$webhook.rules).to_vec(),
            equivalent: text(&$webhook.match_policy) != "Exact",
            ignore_failure: text(&$webhook.failure_policy) == "Ignore",
            namespaces: $webhook.namespace_selector.clone(),
            objects: $webhook.object_selector.clone(),
            side_effects: $webhook.side_effects.clone(),
            conditions: !items(&$webhook.match_conditions).is_empty(),
        }
    };
}

fn seconds(given: Option<i32>) -> Duration {
    Duration::from_secs(u64::try_from(given.unwrap_or(DEFAULT_SECONDS)).unwrap_or(1))
}

impl Hook {
    /// The webhooks of a configuration, in its order.
    pub(super) fn mutating(configuration: &MutatingWebhookConfiguration) -> Vec<Self> {
        let of = items(&configuration.webhooks).iter();
        of.map(|webhook| hook!(webhook, text(&webhook.reinvocation_policy) == "IfNeeded")).collect()
    }

    /// The webhooks of a configuration, in its order.
    pub(super) fn validating(configuration: &ValidatingWebhookConfiguration) -> Vec<Self> {
        items(&configuration.webhooks).iter().map(|webhook| hook!(webhook, false)).collect()
    }

    /// Whether the webhook wants to see the request.
    pub(super) async fn concerns(
        &self,
        context: &Context,
        request: &AdmissionRequest,
    ) -> Result<bool, Status> {
        if !self.rules.iter().any(|rule| matches(rule, request, self.equivalent)) {
            return Ok(false);
        }
        if !self.selects_object(request)? {
            return Ok(false);
        }
        self.selects_namespace(context, request).await
    }

    fn selects_object(&self, request: &AdmissionRequest) -> Result<bool, Status> {
        let Some(wanted) = &self.objects else { return Ok(true) };
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

    async fn selects_namespace(&self, context: &Context, request: &AdmissionRequest) -> Result<bool, Status> {
        let Some(wanted) = &self.namespaces else { return Ok(true) };
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

    /// Sends the request and returns the answer, or why there is none.
    pub(super) async fn ask(&self, context: &Context, request: &AdmissionRequest) -> Result<Verdict, Status> {
        if self.conditions {
            return Err(Status::internal("matchConditions are not supported by this version of Windlass"));
        }
        if request.dry_run && !matches!(self.side_effects.as_str(), "None" | "NoneOnDryRun") {
            return Err(Status::bad_request(format!(
                "admission webhook {:?} does not support dry run",
                self.name
            )));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review::request(request, &uid);
        let answering = call::post(context, &self.client, body, self.timeout);
        let answer = match tokio::time::timeout(self.timeout, answering).await {
            Ok(answer) => answer.map_err(|why| self.unreachable(&why))?,
            Err(_) => return Err(self.unreachable("context deadline exceeded")),
        };
        review::verdict(&answer, &uid).map_err(|why| self.unreachable(&why))
    }

    fn unreachable(&self, why: &str) -> Status {
        Status::internal(format!("failed calling webhook {:?}: {why}", self.name))
    }

    /// What a failure to get an answer means.
    pub(super) fn failed(&self, error: Status) -> Result<(), Status> {
        if self.ignore_failure && error.code == 500 {
            tracing::warn!(webhook = self.name, %error, "a webhook failed; the request goes on, as its policy says");
            return Ok(());
        }
        Err(error)
    }
}

fn listed(list: &Option<Vec<String>>, wanted: &str) -> bool {
    items(list).iter().any(|item| item == "*" || item == wanted)
}

fn matches(rule: &RuleWithOperations, request: &AdmissionRequest, any_version: bool) -> bool {
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
