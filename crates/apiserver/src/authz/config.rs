//! Which authorizers decide, in which order: from flags, or from an AuthorizationConfiguration file that is followed.
//!
//! Deliberately absent: `matchConditions` (CEL), which are refused.

use super::webhook::{Webhook, WebhookSettings};
use super::{MODES, abac, fixed};
use crate::config_file::{Node, parse};
use crate::contract::{Attributes, Authorizer, Context, Decision, UserInfo};
use api::k8s_openapi::api::rbac::v1::PolicyRule;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use component::files::{Apply, follow};
use machinery::Status;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// A webhook may not take longer (upstream's bound).
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// What authorizes, besides the list of modes.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationSettings {
    /// `--authorization-config`; the modes and the webhook's flags do not count then.
    pub file: Option<PathBuf>,
    /// `--authorization-policy-file`, for mode ABAC.
    pub policy_file: Option<PathBuf>,
    /// The webhook of the flags, for mode Webhook.
    pub webhook: Option<WebhookSettings>,
}

/// One authorizer that is wanted.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Mode(String),
    Webhook(WebhookSettings),
}

/// Authorizers that may be exchanged while requests are decided.
struct Chain(ArcSwap<Vec<Arc<dyn Authorizer>>>);

/// Builds authorizers. Those with a cache of the cluster are built once and stay.
struct Builder {
    context: Context,
    built: Mutex<HashMap<String, Arc<dyn Authorizer>>>,
}

/// The configured authorizers; returns when their caches are filled.
pub(super) async fn start(context: &Context) -> Result<Arc<dyn Authorizer>, Status> {
    let settings = &context.config.authorization;
    let builder = Builder { context: context.clone(), built: Mutex::default() };
    let Some(file) = &settings.file else {
        let wanted =
            context.config.authorization_modes.iter().map(|mode| match (mode.as_str(), &settings.webhook) {
                ("Webhook", Some(webhook)) => Ok(Wanted::Webhook(webhook.clone())),
                ("Webhook", None) => Err(Status::bad_request(
                    "failed to start authorization: mode Webhook needs --authorization-webhook-config-file",
                )),
                (mode, _) => Ok(Wanted::Mode(mode.to_owned())),
            });
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        return Ok(Arc::new(Chain(ArcSwap::from_pointee(builder.build(&wanted).await?))));
    };
    let failed = |why: String| {
        Status::internal(format!("failed to use the authorization configuration {}: {why}", file.display()))
    };
    let bytes = tokio::fs::read(file).await.map_err(|error| failed(error.to_string()))?;
    let wanted = read(&bytes).map_err(failed)?;
    let chain = Arc::new(Chain(ArcSwap::from_pointee(builder.build(&wanted).await?)));
    let builder = Arc::new(builder);
    let reloaded = chain.clone();
    let apply: Apply = Arc::new(move |content| {
        let (builder, chain) = (builder.clone(), reloaded.clone());
        Box::pin(async move {
            let wanted = read(&content)?;
            let fresh = builder.build(&wanted).await.map_err(|status| status.message)?;
            chain.0.store(Arc::new(fresh));
            Ok(())
        })
    });
    follow(&context.tasks, "the authorization configuration", file, bytes, apply)
        .map_err(|error| failed(error.to_string()))?;
    Ok(chain)
}

impl Builder {
    async fn build(&self, wanted: &[Wanted]) -> Result<Vec<Arc<dyn Authorizer>>, Status> {
        let mut chain: Vec<Arc<dyn Authorizer>> = vec![fixed::masters()];
        for one in wanted {
            chain.push(match one {
                Wanted::Webhook(settings) => {
                    let webhook = Webhook::new(settings.clone(), &self.context.clock, &self.context.tasks)?;
                    Arc::new(webhook)
                }
                Wanted::Mode(mode) => self.mode(mode).await?,
            });
        }
        Ok(chain)
    }

    async fn mode(&self, mode: &str) -> Result<Arc<dyn Authorizer>, Status> {
        let mut built = self.built.lock().await;
        if let Some(known) = built.get(mode) {
            return Ok(known.clone());
        }
        let fresh: Arc<dyn Authorizer> = if mode == "ABAC" {
            Arc::new(abac::Abac::read(self.context.config.authorization.policy_file.as_deref())?)
        } else if let Some((_, make)) = MODES.iter().find(|(name, _)| *name == mode) {
            make(&self.context).await
        } else {
            let known: Vec<&str> = MODES.iter().map(|(name, _)| *name).chain(["ABAC", "Webhook"]).collect();
            return Err(Status::bad_request(format!(
                "failed to start authorization: {mode:?} is not a valid mode; use some of {}",
                known.join(", ")
            )));
        };
        built.insert(mode.to_owned(), fresh.clone());
        Ok(fresh)
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Wanted>, String> {
    let value = parse(bytes, "AuthorizationConfiguration", &VERSIONS)?;
    let root = Node::root(&value, &["authorizers"])?;
    let mut wanted = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let listed = root.get("authorizers").objects(&["type", "name", "webhook"])?;
    if listed.is_empty() {
        return Err("authorizers: Required value: at least one authorization mode must be defined".to_owned());
    }
    for node in &listed {
        let kind = node.get("type").required()?;
        let name = node.get("name").required()?;
        if names.contains(&name) {
            return Err(node.get("name").bad(&format!("Duplicate value: {name:?}")));
        }
        names.push(name);
        let has_webhook = node.get("webhook").is_set();
        let one = match (kind, has_webhook) {
            ("Webhook", true) => Wanted::Webhook(webhook(node, name)?),
            ("Webhook", false) => {
                return Err(node.get("webhook").bad("Required value: required when type=Webhook"));
            }
            (_, true) => {
                return Err(node
                    .get("webhook")
                    .bad("Invalid value: may only be specified when type=Webhook"));
            }
            (mode, false) => Wanted::Mode(mode.to_owned()),
        };
        if kind != "Webhook" && wanted.contains(&one) {
            return Err(node.get("type").bad(&format!("Duplicate value: {kind:?}")));
        }
        if kind != "Webhook" && kind != "ABAC" && !MODES.iter().any(|(known, _)| *known == kind) {
            return Err(node.get("type").bad(&format!(
                "Unsupported value: {kind:?}: supported values: \"ABAC\", \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \
                 \"RBAC\", \"Webhook\""
            )));
        }
        wanted.push(one);
    }
    Ok(wanted)
}

const WEBHOOK: &[&str] = &[
    "authorizedTTL",
    "cacheAuthorizedRequests",
    "unauthorizedTTL",
    "cacheUnauthorizedRequests",
    "timeout",
    "subjectAccessReviewVersion",
    "matchConditionSubjectAccessReviewVersion",
    "failurePolicy",
    "connectionInfo",
    "matchConditions",
];

fn webhook(node: &Node<'_>, name: &str) -> Result<WebhookSettings, String> {
    let hook = node.object("webhook", WEBHOOK)?;
    if !hook.get("matchConditions").items()?.is_empty() {
        return Err(hook
            .get("matchConditions")
            .bad("not supported by this version of Windlass; leave them out"));
    }
    let ttl = |field: &str, cache: &str, default: u64| -> Result<Duration, String> {
        let ttl = hook.get(field).duration()?.unwrap_or(Duration::from_secs(default));
        Ok(if hook.get(cache).flag()? == Some(false) { Duration::ZERO } else { ttl })
    };
    let Some(timeout) = hook.get("timeout").duration()? else {
        return Err(hook.get("timeout").bad("Required value"));
    };
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(hook.get("timeout").bad("must be greater than 0 and at most 30s"));
    }
    let connection = hook.object("connectionInfo", &["type", "kubeConfigFile"])?;
    connection.get("type").choice(&["KubeConfigFile"])?;
    hook.get("matchConditionSubjectAccessReviewVersion").choice(&["", "v1"])?;
    Ok(WebhookSettings {
        name: name.to_owned(),
        kubeconfig: connection.get("kubeConfigFile").required()?.into(),
        version: hook.get("subjectAccessReviewVersion").choice(&["v1", "v1beta1"])?.to_owned(),
        timeout,
        authorized_ttl: ttl("authorizedTTL", "cacheAuthorizedRequests", 300)?,
        unauthorized_ttl: ttl("unauthorizedTTL", "cacheUnauthorizedRequests", 30)?,
        deny_on_failure: hook.get("failurePolicy").choice(&["NoOpinion", "Deny"])? == "Deny",
    })
}

#[async_trait]
impl Authorizer for Chain {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let chain = self.0.load_full();
        let mut reasons = Vec::new();
        for authorizer in chain.iter() {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion(reason) => reasons.extend(Some(reason).filter(|r| !r.is_empty())),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join(", "))
    }

    fn reason(&self, attributes: &Attributes) -> String {
        let chain = self.0.load();
        chain.iter().map(|a| a.reason(attributes)).find(|reason| !reason.is_empty()).unwrap_or_default()
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> Option<(Vec<PolicyRule>, String)> {
        let (mut rules, mut trouble) = (Vec::new(), Vec::new());
        for authorizer in self.0.load().iter() {
            let Some((some, incomplete)) = authorizer.rules(user, namespace) else { continue };
            rules.extend(some);
            trouble.extend(Some(incomplete).filter(|text| !text.is_empty()));
        }
        Some((rules, trouble.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read_strictly() {
        let read = |authorizers: &str| {
            read(
                format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: {authorizers}")
                    .as_bytes(),
            )
        };
        let hook = "timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, unauthorizedTTL: 1m, \
                    cacheAuthorizedRequests: false, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /k}";
        let wanted =
            read(&format!("[{{type: Webhook, name: w, webhook: {{{hook}}}}}, {{type: RBAC, name: rbac}}]"))
                .unwrap();
        let Wanted::Webhook(settings) = &wanted[0] else { panic!("a webhook") };
        assert!(settings.deny_on_failure);
        assert_eq!(
            (settings.authorized_ttl, settings.unauthorized_ttl),
            (Duration::ZERO, Duration::from_secs(60))
        );
        assert_eq!(wanted[1], Wanted::Mode("RBAC".to_owned()));
        for (bad, why) in [
            ("[]", "at least one"),
            ("[{type: RBAC, name: a}, {type: RBAC, name: b}]", "authorizers[1].type: Duplicate"),
            ("[{type: RBAC, name: a}, {type: Node, name: a}]", "authorizers[1].name: Duplicate"),
            ("[{type: Magic, name: a}]", "Unsupported value: \"Magic\""),
            ("[{type: Webhook, name: a}]", "required when type=Webhook"),
            ("[{type: Webhook, name: w, webhook: {timeout: 31s}}]", "at most 30s"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        let conditions = format!(
            "[{{type: Webhook, name: w, webhook: {{{hook}, matchConditions: [{{expression: 'true'}}]}}}}]"
        );
        assert!(read(&conditions).unwrap_err().contains("matchConditions: not supported"));
    }
}
