//! `TokenReview`: whose token is this?

use super::self_subject::show;
use crate::authn::authenticated;
use crate::contract::{Context, UserInfo, VirtualResource};
use api::Object;
use api::k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use api::transport::WriteOptions;
use async_trait::async_trait;
use machinery::Status;
use std::sync::Arc;

pub(super) struct Token;

#[async_trait]
impl VirtualResource for Token {
    fn resource(&self) -> (&'static str, &'static str) {
        ("authentication.k8s.io", "tokenreviews")
    }

    async fn create(
        &self,
        context: &Context,
        _: &Arc<UserInfo>,
        _: &str,
        mut object: Box<dyn Object>,
        _: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        let Some(review) = object.downcast_mut::<TokenReview>() else { return Ok(object) };
        let token = review.spec.token.clone();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = review.spec.audiences.clone().unwrap_or_default();
        review.status = Some(answer(context, &token, &audiences).await);
        Ok(object)
    }
}

async fn answer(context: &Context, token: &str, audiences: &[String]) -> TokenReviewStatus {
    let mut trouble = None;
    for authenticator in context.authenticators.get().into_iter().flatten() {
        match authenticator.review(token, audiences).await {
            Ok(Some(found)) => {
                return TokenReviewStatus {
                    authenticated: Some(true),
                    user: Some(show(&authenticated(found.user))),
                    audiences: (!found.audiences.is_empty()).then_some(found.audiences),
                    error: None,
                };
            }
            Ok(None) => {}
            Err(error) => trouble = Some(error),
        }
    }
    let error = match trouble {
        // What exactly is wrong with a token is nobody's business but its issuer's.
        None => "invalid bearer token".to_owned(),
        Some(error) if error.code == 401 => "invalid bearer token".to_owned(),
        Some(error) => error.message,
    };
    TokenReviewStatus { error: Some(error), ..TokenReviewStatus::default() }
}
