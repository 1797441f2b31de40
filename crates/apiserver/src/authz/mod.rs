//! Who may do what: the authorizers, in the order of `--authorization-mode`, and the words of a refusal.
//!
//! A new authorizer is a file here and a row in [`MODES`], or a case in `config.rs` if it needs settings. Deliberately absent: the traits (`contract`), and the
//! subject access reviews, which are resources (`subresources/access_reviews.rs`).

mod abac;
pub mod bootstrap;
mod config;
pub mod feed;
mod fixed;
pub mod node;
pub mod rbac;
mod webhook;

pub use config::AuthorizationSettings;
pub use webhook::WebhookSettings;

use crate::audit;
use crate::contract::{Attributes, Authorizer, Context, Decision};
use futures::future::BoxFuture;
use machinery::{Reason, Status, StatusDetails};
use std::sync::Arc;

/// Makes an authorizer that is ready to decide.
type Make = for<'a> fn(&'a Context) -> BoxFuture<'a, Arc<dyn Authorizer>>;

/// Every mode by its name, besides ABAC and Webhook, which need files (`config.rs`).
const MODES: &[(&str, Make)] = &[
    ("AlwaysAllow", |_| Box::pin(async { fixed::always_allow() })),
    ("AlwaysDeny", |_| Box::pin(async { fixed::always_deny() })),
    ("Node", |context| Box::pin(node::start(context))),
    ("RBAC", |context| Box::pin(rbac::start(context))),
];

/// Builds the configured authorizers and installs them in `context`; returns when their caches are filled.
/// Members of `system:masters` are let in before any of them is asked.
///
/// Fails when a mode is not known, or a file cannot be used.
pub async fn start(context: &Context) -> Result<(), Status> {
    let chain = config::start(context).await?;
    // Only the first set of authorizers counts; a server is put together once.
    let _ = context.authorizers.set(vec![chain]);
    Ok(())
}

/// Lets the request through or says why not.
pub async fn check(context: &Context, attributes: &Attributes) -> Result<(), Status> {
    match context.authorize(attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
    }
}

/// Adds to the audit record of the request how it was decided, and why.
pub fn annotate(context: &Context, attributes: &Attributes, refusal: Option<&Status>) {
    let decision = if refusal.is_none() { "allow" } else { "forbid" };
    audit::annotate("authorization.k8s.io/decision", || decision.to_owned());
    audit::annotate("authorization.k8s.io/reason", || {
        if refusal.is_some() {
            return String::new();
        }
        let authorizers = context.authorizers.get().into_iter().flatten();
        authorizers.map(|a| a.reason(attributes)).find(|reason| !reason.is_empty()).unwrap_or_default()
    });
}

/// 403 in upstream's words.
pub fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let mut why = refusal(attributes);
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if attributes.resource_request {
        return Status::forbidden(&attributes.group_resource(), &attributes.name, why);
    }
    Status::new(403, Reason::Forbidden, format!("forbidden: {why}")).with_details(StatusDetails::default())
}

fn refusal(attributes: &Attributes) -> String {
    let (user, verb) = (&attributes.user.name, &attributes.verb);
    if !attributes.resource_request {
        return format!("User {user:?} cannot {verb} path {:?}", attributes.path);
    }
    let resource = match attributes.subresource.as_ref() {
        "" => attributes.resource.to_string(),
        subresource => format!("{}/{subresource}", attributes.resource),
    };
    let place = match attributes.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    format!("User {user:?} cannot {verb} resource {resource:?} in API group \"{}\" {place}", attributes.group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::UserInfo;

    #[test]
    fn refusals_read_as_upstream_words_them() {
        let mut attributes = Attributes {
            user: Arc::new(UserInfo::new("x", &[])),
            verb: "list".into(),
            resource_request: true,
            resource: "pods".into(),
            namespace: "default".to_owned(),
            ..Attributes::default()
        };
        assert_eq!(
            forbidden(&attributes, "").message,
            "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
        attributes.subresource = "exec".into();
        attributes.name = "a".to_owned();
        attributes.namespace.clear();
        assert_eq!(
            forbidden(&attributes, "because").message,
            "pods \"a\" is forbidden: User \"x\" cannot list resource \"pods/exec\" in API group \"\" at the cluster \
             scope: because"
        );
        attributes.resource_request = false;
        attributes.path = "/metrics".to_owned();
        attributes.verb = "get".into();
        assert_eq!(forbidden(&attributes, "").message, "forbidden: User \"x\" cannot get path \"/metrics\"");
    }
}
