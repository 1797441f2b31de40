//! NamespaceLifecycle: nothing is created in namespaces that do not exist or are going away, and some namespaces
//! stay forever.

use super::forbidden;
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::StoredObject;
use api::transport::Target;
use async_trait::async_trait;
use machinery::{GroupResource, GroupVersionResource, Status, StatusCause, StatusDetails};
use std::sync::Arc;

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle(pub(super) Context);

/// The namespace, from the cache or, when it is not there yet, from the store.
pub(crate) async fn namespace(context: &Context, name: &str) -> Result<Option<Arc<StoredObject>>, Status> {
    let cached = context.lookup.get(&GroupResource::new("", "namespaces"), "", name).await?;
    if cached.is_some() {
        return Ok(cached);
    }
    let target = Target::all(GroupVersionResource::new("", "v1", "namespaces")).named(name);
    match context.loopback.get(&target).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// 404 for a namespace.
pub(super) fn missing(name: &str) -> Status {
    Status::not_found(&GroupResource::new("", "namespaces"), name)
}

/// Whether the request is about objects in a namespace that must exist.
pub(super) fn concerns(request: &AdmissionRequest) -> bool {
    // Reviews are questions, also about namespaces that do not exist.
    request.def.namespaced && !request.namespace.is_empty() && request.def.gvk.group != "authorization.k8s.io"
}

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.operation == Operation::Delete {
            let immortal = request.is("", "namespaces") && IMMORTAL.contains(&request.name.as_str());
            return if immortal {
                Err(forbidden(request, "this namespace may not be deleted"))
            } else {
                Ok(())
            };
        }
        if !concerns(request) {
            return Ok(());
        }
        let Some(namespace) = namespace(&self.0, &request.namespace).await? else {
            return Err(missing(&request.namespace));
        };
        if request.operation == Operation::Create && namespace.meta().deletion_timestamp.is_some() {
            return Err(terminating(request));
        }
        Ok(())
    }
}

fn terminating(request: &AdmissionRequest) -> Status {
    let namespace = &request.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let status = forbidden(request, why);
    let details = StatusDetails {
        causes: vec![StatusCause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        }],
        ..status.details.as_deref().cloned().unwrap_or_default()
    };
    status.with_details(details)
}
