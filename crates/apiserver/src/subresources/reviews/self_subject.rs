//! `SelfSubjectReview`: who am I?

use crate::contract::{Context, UserInfo, VirtualResource};
use api::Object;
use api::k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, SelfSubjectReviewStatus, UserInfo as Answer,
};
use api::transport::WriteOptions;
use async_trait::async_trait;
use machinery::Status;
use std::sync::Arc;

pub(super) struct SelfSubject;

/// A user as reviews show it.
pub(super) fn show(user: &UserInfo) -> Answer {
    Answer {
        username: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
    }
}

#[async_trait]
impl VirtualResource for SelfSubject {
    fn resource(&self) -> (&'static str, &'static str) {
        ("authentication.k8s.io", "selfsubjectreviews")
    }

    async fn create(
        &self,
        _: &Context,
        user: &Arc<UserInfo>,
        _: &str,
        mut object: Box<dyn Object>,
        _: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        if let Some(review) = object.downcast_mut::<SelfSubjectReview>() {
            review.status = Some(SelfSubjectReviewStatus { user_info: Some(show(user)) });
        }
        Ok(object)
    }
}
