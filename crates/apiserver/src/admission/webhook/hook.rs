//! One webhook: which requests it wants to see, and what its failure means.

use super::review::Verdict;
use super::{call, review};
use crate::admission::policy::conditions;
use crate::admission::selection::{matches, selects_namespace, selects_object};
use crate::contract::{AdmissionRequest, Context};
use crate::expressions::{Admitted, Compiled, condition};
use api::common::{items, text};
use api::k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
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
    conditions: Vec<MatchCondition>,
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
            conditions: items(&$webhook.match_conditions).to_vec(),
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
        if !selects_object(&self.objects, request)? {
            return Ok(false);
        }
        if !selects_namespace(&self.namespaces, context, request).await? {
            return Ok(false);
        }
        self.conditions_hold(context, request).await
    }

    /// What cannot be decided decides the failure policy.
    async fn conditions_hold(&self, context: &Context, request: &AdmissionRequest) -> Result<bool, Status> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let admitted = Admitted::new(context, request).await?;
        let compiled: Vec<_> =
            self.conditions.iter().map(|one| (one.name.as_str(), condition(&one.expression))).collect();
        let all: Vec<(&str, &Compiled)> = compiled.iter().map(|(name, one)| (*name, &**one)).collect();
        match conditions::hold(&admitted, None, &[], &all).await {
            Ok(holds) => Ok(holds),
            Err(why) if self.ignore_failure => {
                tracing::warn!(
                    webhook = self.name,
                    why,
                    "match conditions failed; the webhook is passed over"
                );
                Ok(false)
            }
            Err(why) => Err(Status::forbidden(&request.group_resource(), &request.name, why)),
        }
    }

    /// Sends the request and returns the answer, or why there is none.
    pub(super) async fn ask(&self, context: &Context, request: &AdmissionRequest) -> Result<Verdict, Status> {
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
