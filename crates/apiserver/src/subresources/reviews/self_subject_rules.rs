//! `SelfSubjectRulesReview`: what may I do in a namespace?

use crate::contract::{Context, UserInfo, VirtualResource};
use api::Object;
use api::k8s_openapi::api::authorization::v1::{
    NonResourceRule, ResourceRule, SelfSubjectRulesReview, SubjectRulesReviewStatus,
};
use api::transport::WriteOptions;
use async_trait::async_trait;
use machinery::Status;
use std::sync::Arc;

pub(super) struct SelfSubjectRules;

#[async_trait]
impl VirtualResource for SelfSubjectRules {
    fn resource(&self) -> (&'static str, &'static str) {
        ("authorization.k8s.io", "selfsubjectrulesreviews")
    }

    async fn create(
        &self,
        context: &Context,
        user: &Arc<UserInfo>,
        _: &str,
        mut object: Box<dyn Object>,
        _: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        let Some(review) = object.downcast_mut::<SelfSubjectRulesReview>() else { return Ok(object) };
        let namespace = review.spec.namespace.clone().unwrap_or_default();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        review.status = Some(answer(context, user, &namespace));
        Ok(object)
    }
}

fn answer(context: &Context, user: &UserInfo, namespace: &str) -> SubjectRulesReviewStatus {
    let mut status = SubjectRulesReviewStatus::default();
    let mut trouble = Vec::new();
    for authorizer in context.authorizers.get().into_iter().flatten() {
        let Some((rules, incomplete)) = authorizer.rules(user, namespace) else { continue };
        trouble.extend(Some(incomplete).filter(|text| !text.is_empty()));
        for rule in rules {
            if let Some(urls) = rule.non_resource_urls.filter(|urls| !urls.is_empty()) {
                status
                    .non_resource_rules
                    .push(NonResourceRule { non_resource_urls: Some(urls), verbs: rule.verbs.clone() });
            }
            if let Some(resources) = rule.resources.filter(|resources| !resources.is_empty()) {
                status.resource_rules.push(ResourceRule {
                    api_groups: rule.api_groups,
                    resource_names: rule.resource_names,
                    resources: Some(resources),
                    verbs: rule.verbs,
                });
            }
        }
    }
    status.incomplete = !trouble.is_empty();
    status.evaluation_error = (!trouble.is_empty()).then(|| trouble.join(", "));
    status
}
