//! Admission of what is sent to subresources that take a kind of their own and store nothing of it: Binding, Eviction,
//! TokenRequest. What they change of their parent is decided by their handlers.

use super::{At, Caller, Registry};
use crate::contract::{AdmissionRequest, Operation};
use api::k8s_openapi::api::authentication::v1::TokenRequest;
use api::k8s_openapi::api::core::v1::Binding;
use api::k8s_openapi::api::policy::v1::Eviction;
use api::object::DecodeError;
use api::transport::WriteOptions;
use api::{Kind, Object, ResourceDef};
use bytes::Bytes;
use machinery::Status;
use std::sync::Arc;

type Decode = fn(&[u8]) -> Result<Box<dyn Object>, DecodeError>;

fn decode<K: Kind>(json: &[u8]) -> Result<Box<dyn Object>, DecodeError> {
    K::from_json(json).map(|object| Box::new(object) as Box<dyn Object>)
}

/// The kinds, by plural of the parent and subresource.
const BODIES: &[(&str, &str, Decode)] = &[
    ("pods", "binding", decode::<Binding>),
    ("pods", "eviction", decode::<Eviction>),
    ("serviceaccounts", "token", decode::<TokenRequest>),
];

impl Registry {
    /// The body of a creation of a subresource as admission leaves it; bodies of no kind of their own stay as they are.
    pub async fn admit_body(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        at: At<'_>,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Bytes, Status> {
        let row = BODIES.iter().find(|(plural, sub, _)| def.plural == *plural && at.subresource == *sub);
        let Some((_, _, decode)) = row else { return Ok(body) };
        let object = decode(&body).map_err(|error| Status::bad_request(error.to_string()))?;
        let expected = object.gvk();
        let mut request = AdmissionRequest {
            operation: Operation::Create,
            user: caller.user.clone(),
            def: def.clone(),
            subresource: at.subresource.to_owned().into(),
            namespace: at.namespace.to_owned(),
            name: at.name.to_owned(),
            object: Some(object),
            old: None,
            dry_run: options.dry_run,
            options: super::update::options_json("CreateOptions", options),
            warnings: crate::contract::Warnings::default(),
        };
        self.admit(caller, &mut request).await?;
        self.admit_validate(caller, &request).await?;
        match request.object {
            Some(object) if object.gvk() == expected => Ok(object.to_json().into()),
            _ => Err(Status::internal(format!("an admission plugin made something else of a {expected}"))),
        }
    }
}
