//! Authorizers that look at nothing but who asks: `AlwaysAllow`, `AlwaysDeny`, and the one that lets members of
//! `system:masters` in.

use crate::contract::{Attributes, Authorizer, Decision, UserInfo};
use api::k8s_openapi::api::rbac::v1::PolicyRule;
use async_trait::async_trait;
use std::sync::Arc;

/// The group that may do anything.
pub(crate) const MASTERS: &str = "system:masters";

struct AlwaysAllow;
struct AlwaysDeny;
struct Masters;

/// Allows everything.
pub(crate) fn always_allow() -> Arc<dyn Authorizer> {
    Arc::new(AlwaysAllow)
}

/// Allows nothing, but lets later authorizers speak.
pub(crate) fn always_deny() -> Arc<dyn Authorizer> {
    Arc::new(AlwaysDeny)
}

/// Allows members of `system:masters` everything.
pub(crate) fn masters() -> Arc<dyn Authorizer> {
    Arc::new(Masters)
}

/// Rules that allow everything.
pub(crate) fn all_rules() -> Vec<PolicyRule> {
    let all = || vec!["*".to_owned()];
    let resources =
        PolicyRule { api_groups: Some(all()), resources: Some(all()), verbs: all(), ..PolicyRule::default() };
    let urls = PolicyRule { non_resource_urls: Some(all()), verbs: all(), ..PolicyRule::default() };
    vec![resources, urls]
}

#[async_trait]
impl Authorizer for AlwaysAllow {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::Allow
    }
    fn rules(&self, _: &UserInfo, _: &str) -> Option<(Vec<PolicyRule>, String)> {
        Some((all_rules(), String::new()))
    }
}

#[async_trait]
impl Authorizer for AlwaysDeny {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".to_owned())
    }
}

#[async_trait]
impl Authorizer for Masters {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        match attributes.user.in_group(MASTERS) {
            true => Decision::Allow,
            false => Decision::NoOpinion(String::new()),
        }
    }
}
