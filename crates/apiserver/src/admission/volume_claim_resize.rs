//! PersistentVolumeClaimResize: a bound claim grows only where its class allows it.

use super::{find, forbidden};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::{amounts, text};
use api::k8s_openapi::api::core::v1::PersistentVolumeClaim;
use api::k8s_openapi::api::storage::v1::StorageClass;
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use async_trait::async_trait;
use machinery::Status;
use std::cmp::Ordering;

pub(super) struct ClaimResize(pub(super) Context);

fn size(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

#[async_trait]
impl Admission for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if !request.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let new = request.object.as_deref().and_then(|o| o.downcast_ref::<PersistentVolumeClaim>());
        let old = request.old.as_deref().and_then(|o| o.downcast_ref::<PersistentVolumeClaim>());
        let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
        let (Some(wanted), Some(had)) = (size(new), size(old)) else { return Ok(()) };
        if amounts::compare(wanted, had) != Some(Ordering::Greater) {
            return Ok(());
        }
        if old.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
            return Err(forbidden(request, "Only bound persistent volume claims can be expanded"));
        }
        let class = new.spec.as_ref().map(|spec| text(&spec.storage_class_name)).unwrap_or_default();
        let allowed = match class {
            "" => false,
            class => find::<StorageClass>(&self.0, "", class)
                .await?
                .is_some_and(|(_, class)| class.allow_volume_expansion == Some(true)),
        };
        if allowed {
            return Ok(());
        }
        Err(forbidden(
            request,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
             support resize",
        ))
    }
}
