//! The access reviews: may someone do something?

use crate::contract::{Attributes, Context, Decision, UserInfo, VirtualResource};
use api::Object;
use api::k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use api::transport::WriteOptions;
use async_trait::async_trait;
use machinery::{FieldErrors, FieldPath, GroupKind, Status};
use std::sync::Arc;

const GROUP: &str = "authorization.k8s.io";

pub(super) struct SubjectAccess;
pub(super) struct LocalSubjectAccess;
pub(super) struct SelfSubjectAccess;

#[async_trait]
impl VirtualResource for SubjectAccess {
    fn resource(&self) -> (&'static str, &'static str) {
        (GROUP, "subjectaccessreviews")
    }

    async fn create(
        &self,
        context: &Context,
        _: &Arc<UserInfo>,
        _: &str,
        mut object: Box<dyn Object>,
        _: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        if let Some(review) = object.downcast_mut::<SubjectAccessReview>() {
            review.status = Some(answer_for("SubjectAccessReview", context, &review.spec).await?);
        }
        Ok(object)
    }
}

#[async_trait]
impl VirtualResource for LocalSubjectAccess {
    fn resource(&self) -> (&'static str, &'static str) {
        (GROUP, "localsubjectaccessreviews")
    }

    async fn create(
        &self,
        context: &Context,
        _: &Arc<UserInfo>,
        namespace: &str,
        mut object: Box<dyn Object>,
        _: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        let Some(review) = object.downcast_mut::<LocalSubjectAccessReview>() else { return Ok(object) };
        let wanted = review.spec.resource_attributes.as_ref().and_then(|a| a.namespace.as_deref());
        if wanted.unwrap_or_default() != namespace {
            return Err(Status::bad_request(
                "spec.resourceAttributes.namespace must match metadata.namespace",
            ));
        }
        review.status = Some(answer_for("LocalSubjectAccessReview", context, &review.spec).await?);
        Ok(object)
    }
}

#[async_trait]
impl VirtualResource for SelfSubjectAccess {
    fn resource(&self) -> (&'static str, &'static str) {
        (GROUP, "selfsubjectaccessreviews")
    }

    async fn create(
        &self,
        context: &Context,
        user: &Arc<UserInfo>,
        _: &str,
        mut object: Box<dyn Object>,
        _: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        if let Some(review) = object.downcast_mut::<SelfSubjectAccessReview>() {
            let (resource, path) = (&review.spec.resource_attributes, &review.spec.non_resource_attributes);
            let errors = exactly_one(resource.is_some(), path.is_some());
            refuse("SelfSubjectAccessReview", &errors)?;
            review.status = Some(answer(context, user.clone(), resource.as_ref(), path.as_ref()).await);
        }
        Ok(object)
    }
}

fn exactly_one(resource: bool, path: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if resource == path {
        errors.invalid(
            FieldPath::new("spec").child("resourceAttributes"),
            serde_json::Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        );
    }
    errors
}

fn refuse(kind: &'static str, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&GroupKind::new(GROUP, kind), "", errors)) }
}

async fn answer_for(
    kind: &'static str,
    context: &Context,
    spec: &SubjectAccessReviewSpec,
) -> Result<SubjectAccessReviewStatus, Status> {
    let mut errors = exactly_one(spec.resource_attributes.is_some(), spec.non_resource_attributes.is_some());
    let name = spec.user.clone().unwrap_or_default();
    let groups = spec.groups.clone().unwrap_or_default();
    if name.is_empty() && groups.is_empty() {
        let field = FieldPath::new("spec").child("user");
        errors.invalid(field, name.as_str(), "at least one of user or group must be specified");
    }
    refuse(kind, &errors)?;
    let uid = spec.uid.clone().unwrap_or_default();
    let user = Arc::new(UserInfo { name, uid, groups, extra: spec.extra.clone().unwrap_or_default() });
    Ok(answer(context, user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref()).await)
}

async fn answer(
    context: &Context,
    user: Arc<UserInfo>,
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> SubjectAccessReviewStatus {
    let attributes = match (resource, path) {
        (Some(resource), _) => of_resource(user, resource),
        (None, path) => Attributes {
            user,
            verb: path.and_then(|p| p.verb.clone()).unwrap_or_default().into(),
            path: path.and_then(|p| p.path.clone()).unwrap_or_default(),
            ..Attributes::default()
        },
    };
    let text = |reason: String| Some(reason).filter(|reason| !reason.is_empty());
    match context.authorize(&attributes).await {
        Decision::Allow => {
            let authorizers = context.authorizers.get().into_iter().flatten();
            let reason = authorizers.map(|a| a.reason(&attributes)).find(|reason| !reason.is_empty());
            SubjectAccessReviewStatus { allowed: true, reason, ..SubjectAccessReviewStatus::default() }
        }
        Decision::Deny(reason) => SubjectAccessReviewStatus {
            denied: Some(true),
            reason: text(reason),
            ..SubjectAccessReviewStatus::default()
        },
        Decision::NoOpinion(reason) => {
            SubjectAccessReviewStatus { reason: text(reason), ..SubjectAccessReviewStatus::default() }
        }
    }
}

fn of_resource(user: Arc<UserInfo>, asked: &ResourceAttributes) -> Attributes {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let field_selector = asked.field_selector.as_ref().and_then(|selector| {
        let parts = selector.requirements.iter().flatten().filter_map(|r| {
            match (r.operator.as_str(), r.values.as_deref()) {
                ("In", Some([value])) => Some(format!("{}={value}", r.key)),
                ("NotIn", Some([value])) => Some(format!("{}!={value}", r.key)),
                _ => None,
            }
        });
        let joined = parts.collect::<Vec<_>>().join(",");
        selector.raw_selector.clone().or((!joined.is_empty()).then_some(joined))
    });
    let label_selector = asked.label_selector.as_ref().and_then(|selector| {
        let joined = selector.requirements.iter().flatten().map(requirement).collect::<Vec<_>>().join(",");
        selector.raw_selector.clone().or((!joined.is_empty()).then_some(joined))
    });
    Attributes {
        user,
        verb: text(&asked.verb).into(),
        resource_request: true,
        group: text(&asked.group).into(),
        version: text(&asked.version).into(),
        resource: text(&asked.resource).into(),
        subresource: text(&asked.subresource).into(),
        namespace: text(&asked.namespace),
        name: text(&asked.name),
        path: String::new(),
        field_selector,
        label_selector,
    }
}

fn requirement(requirement: &LabelSelectorRequirement) -> String {
    let values = requirement.values.as_deref().unwrap_or_default().join(",");
    match requirement.operator.as_str() {
        "In" => format!("{} in ({values})", requirement.key),
        "NotIn" => format!("{} notin ({values})", requirement.key),
        "DoesNotExist" => format!("!{}", requirement.key),
        _ => requirement.key.clone(),
    }
}
