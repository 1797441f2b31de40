//! OwnerReferencesPermissionEnforcement: whoever changes the owners of an object could let the garbage collector delete
//! it, so they must be allowed to delete it; whoever lets an object hold up its owner's deletion must be allowed to
//! set the owner's finalizers.

use super::forbidden;
use crate::contract::{Admission, AdmissionRequest, Attributes, Context, Decision, Operation};
use api::common::items;
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use api::{Object, ResourceTable};
use async_trait::async_trait;
use machinery::gvk::Name;
use machinery::{GroupVersion, GroupVersionKind, Status};

pub(super) struct OwnerReferences(pub(super) Context);

fn owners(object: Option<&dyn Object>) -> &[OwnerReference] {
    object.map(|object| items(&object.meta().owner_references)).unwrap_or_default()
}

fn blocks(reference: &OwnerReference) -> bool {
    reference.block_owner_deletion == Some(true)
}

impl OwnerReferences {
    /// Whether the request's user may do `what`; otherwise why not.
    async fn may(&self, request: &AdmissionRequest, what: Attributes) -> Result<(), String> {
        let asked = Attributes { user: request.user.clone(), resource_request: true, ..what };
        match self.0.authorize(&asked).await {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(reason),
        }
    }

    /// Plural and scope of the kind that a reference names; `None` when nothing serves it.
    async fn resource(&self, gvk: &GroupVersionKind) -> Result<Option<(Name, bool)>, Status> {
        if let Some(row) = ResourceTable::shared().by_gvk(gvk) {
            return Ok(Some((row.plural.clone(), row.namespaced)));
        }
        let all = super::list::<CustomResourceDefinition>(&self.0, "").await?;
        let found = all.iter().find(|crd| {
            crd.spec.group == gvk.group
                && crd.spec.names.kind == gvk.kind
                && crd.spec.versions.iter().any(|version| version.served && version.name == gvk.version)
        });
        Ok(found.map(|crd| (crd.spec.names.plural.clone().into(), crd.spec.scope == "Namespaced")))
    }

    async fn check_blocking(
        &self,
        request: &AdmissionRequest,
        reference: &OwnerReference,
    ) -> Result<(), Status> {
        let version =
            GroupVersion::parse(&reference.api_version).unwrap_or_else(|| GroupVersion::new("", ""));
        let gvk =
            GroupVersionKind::new(version.group.clone(), version.version.clone(), reference.kind.clone());
        let Some((resource, namespaced)) = self.resource(&gvk).await? else {
            let why = format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: \
                 no matches for kind {:?} in version {:?}",
                reference.api_version, reference.kind, reference.kind, reference.api_version
            );
            return Err(forbidden(request, why));
        };
        let what = Attributes {
            verb: "update".into(),
            group: version.group,
            version: version.version,
            resource,
            subresource: "finalizers".into(),
            name: reference.name.clone(),
            namespace: if namespaced { request.namespace.clone() } else { String::new() },
            ..Attributes::default()
        };
        self.may(request, what).await.map_err(|reason| {
            let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
            forbidden(request, format!("{why}: {reason}, <nil>"))
        })
    }
}

#[async_trait]
impl Admission for OwnerReferences {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        // A node writes the status of pods as they are.
        if request.def.plural == "pods" && request.subresource == "status" {
            return Ok(());
        }
        let (new, old) = (owners(request.object.as_deref()), owners(request.old.as_deref()));
        if new == old {
            return Ok(());
        }
        if request.operation == Operation::Update {
            let what = Attributes {
                verb: "delete".into(),
                group: request.def.gvk.group.clone(),
                version: request.def.gvk.version.clone(),
                resource: request.def.plural.clone(),
                subresource: request.subresource.clone(),
                namespace: request.namespace.clone(),
                name: request.name.clone(),
                ..Attributes::default()
            };
            self.may(request, what).await.map_err(|reason| {
                let why = "cannot set an ownerRef on a resource you can't delete";
                forbidden(request, format!("{why}: {reason}, <nil>"))
            })?;
        }
        for reference in new.iter().filter(|new| blocks(new)) {
            let known = old.iter().any(|old| old.uid == reference.uid && blocks(old));
            if !known {
                self.check_blocking(request, reference).await?;
            }
        }
        Ok(())
    }
}
