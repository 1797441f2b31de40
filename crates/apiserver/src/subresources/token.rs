//! `serviceaccounts/token`: issues a token that is bound to a pod, secret or node.
//!
//! Source: KEP-1205; KEP-4193. Deliberately absent: tokens that never expire.

use crate::admission::node_restriction;
use crate::authn::service_account::{Bound, Claims, Keys, Reference, now};
use crate::authz::rbac::account_name;
use crate::contract::{Context, ObjectCall, SubresourceHandler};
use api::common::text;
use api::k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest, TokenRequestSpec, TokenRequestStatus,
};
use api::k8s_openapi::api::core::v1::Pod;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use api::transport::Target;
use api::{Kind, StoredObject, Verb};
use async_trait::async_trait;
use machinery::{FieldErrors, FieldPath, GroupKind, GroupResource, GroupVersionResource, Status};
use std::sync::{Arc, OnceLock};

const MIN_SECONDS: i64 = 10 * 60;
const DEFAULT_SECONDS: i64 = 60 * 60;
const MAX_SECONDS: i64 = 1 << 32;
/// The life that the token volume asks for. Such tokens get a year, because old clients read their token only
/// once; after the asked life their use is noted.
const VOLUME_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 60 * 60;

#[derive(Default)]
pub(super) struct Token {
    keys: OnceLock<Keys>,
}

#[async_trait]
impl SubresourceHandler for Token {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "serviceaccounts")
    }

    fn name(&self) -> &'static str {
        "token"
    }

    async fn call(&self, context: &Context, call: ObjectCall) -> Result<Arc<StoredObject>, Status> {
        if call.verb != Verb::Create {
            let resource = GroupResource::new("", "serviceaccounts");
            return Err(Status::method_not_allowed(&resource, call.verb.as_str()));
        }
        let mut request =
            TokenRequest::from_json(&call.body).map_err(|error| Status::bad_request(error.to_string()))?;
        let mut spec = request.spec.take().unwrap_or_default();
        validate(&call.name, &spec)?;
        node_restriction::token(context, &call, &spec).await?;
        let account = object(context, "serviceaccounts", &call.namespace, &call.name).await?;
        let uid = account.meta().uid.clone().unwrap_or_default();
        let mut bound = Bound {
            namespace: call.namespace.clone(),
            serviceaccount: Reference { name: call.name.clone(), uid },
            ..Bound::default()
        };
        if let Some(reference) = &spec.bound_object_ref {
            bind(context, &call, reference, &mut bound).await?;
        }
        let config = &context.config.service_accounts;
        let asked = spec.audiences.take().filter(|audiences| !audiences.is_empty());
        let audiences = asked.unwrap_or_else(|| config.audiences.clone());
        spec.audiences = Some(audiences.clone());
        let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        spec.expiration_seconds = Some(seconds);
        let now = now(context);
        let for_us = audiences.iter().all(|audience| config.audiences.contains(audience));
        let mut life = seconds;
        if seconds == VOLUME_SECONDS && bound.pod.is_some() && for_us {
            bound.warnafter = Some(now + seconds);
            life = EXTENDED_SECONDS;
        }
        let claims = Claims {
            aud: audiences,
            exp: now + life,
            iat: now,
            iss: config.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: account_name(&call.namespace, &call.name),
            nbf: now,
            kubernetes: bound,
        };
        request.spec = Some(spec);
        request.metadata.name = Some(call.name.clone());
        request.metadata.namespace = Some(call.namespace.clone());
        request.metadata.creation_timestamp = Timestamp::from_second(now).ok().map(Time);
        request.status = Some(TokenRequestStatus {
            expiration_timestamp: Timestamp::from_second(now + seconds).ok().map(Time),
            token: Some(self.keys(context)?.sign(&claims)?),
        });
        StoredObject::from_object(Box::new(request)).map(Arc::new).map_err(Status::internal)
    }
}

impl Token {
    /// The keys, read from the configuration once.
    fn keys(&self, context: &Context) -> Result<&Keys, Status> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let keys = Keys::new(&context.config.service_accounts)?;
        Ok(self.keys.get_or_init(|| keys))
    }
}

fn validate(name: &str, spec: &TokenRequestSpec) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let field = FieldPath::new("spec").child("expirationSeconds");
    let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
    if seconds < MIN_SECONDS {
        errors.invalid(field, seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > MAX_SECONDS {
        errors.invalid(field, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("authentication.k8s.io", "TokenRequest"), name, &errors))
}

/// The object as the store has it; 404 when it does not exist.
async fn object(
    context: &Context,
    plural: &'static str,
    namespace: &str,
    name: &str,
) -> Result<Arc<StoredObject>, Status> {
    let target = Target::all(GroupVersionResource::new("", "v1", plural)).in_namespace(namespace).named(name);
    context.loopback.get(&target).await
}

async fn bind(
    context: &Context,
    call: &ObjectCall,
    reference: &BoundObjectReference,
    bound: &mut Bound,
) -> Result<(), Status> {
    let (kind, version) = (text(&reference.kind), text(&reference.api_version));
    let name = text(&reference.name);
    let (plural, namespace) = match (version, kind) {
        ("v1", "Pod") => ("pods", call.namespace.as_str()),
        ("v1", "Secret") => ("secrets", call.namespace.as_str()),
        ("v1", "Node") => ("nodes", ""),
        _ => {
            let why = format!("cannot bind token to object of type {version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let found = object(context, plural, namespace, name).await?;
    let uid = found.meta().uid.clone().unwrap_or_default();
    let wanted = text(&reference.uid);
    if !wanted.is_empty() && wanted != uid {
        return Err(Status::conflict(
            &GroupResource::new("", plural),
            name,
            format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            ),
        ));
    }
    let claim = Reference { name: name.to_owned(), uid };
    match plural {
        "secrets" => bound.secret = Some(claim),
        "nodes" => bound.node = Some(claim),
        _ => {
            let pod = found.get::<Pod>().map_err(Status::internal)?;
            let spec = pod.spec.as_ref();
            if spec.map(|spec| text(&spec.service_account_name)) != Some(call.name.as_str()) {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name
                )));
            }
            if let Some(node) = spec.map(|spec| text(&spec.node_name)).filter(|node| !node.is_empty()) {
                let uid = match object(context, "nodes", "", node).await {
                    Ok(node) => node.meta().uid.clone().unwrap_or_default(),
                    Err(error) if error.is_not_found() => String::new(),
                    Err(error) => return Err(error),
                };
                bound.node = Some(Reference { name: node.to_owned(), uid });
            }
            bound.pod = Some(claim);
        }
    }
    Ok(())
}
