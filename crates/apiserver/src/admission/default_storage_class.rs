//! DefaultStorageClass: a claim that names no class gets the default one.

use super::list;
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::k8s_openapi::api::core::v1::PersistentVolumeClaim;
use api::k8s_openapi::api::storage::v1::StorageClass;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use async_trait::async_trait;
use machinery::Status;

/// Older form of `spec.storageClassName`.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(super) struct DefaultStorageClass(pub(super) Context);

fn has_class(claim: &PersistentVolumeClaim) -> bool {
    let annotated = claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(BETA_CLASS));
    annotated || claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some())
}

/// Whether one of `annotations` is `true`.
pub(super) fn marked(meta: &ObjectMeta, annotations: &[&str]) -> bool {
    let value = |key: &&str| meta.annotations.as_ref().and_then(|a| a.get(*key));
    annotations.iter().filter_map(value).any(|value| value == "true")
}

/// Newest first, then by name: which of several defaults counts.
pub(super) fn newest_first(a: &ObjectMeta, b: &ObjectMeta) -> std::cmp::Ordering {
    let time = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|t| t.0);
    time(b).cmp(&time(a)).then_with(|| a.name.cmp(&b.name))
}

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if !request.is("", "persistentvolumeclaims") {
            return Ok(());
        }
        let object = request.object.as_deref_mut();
        let Some(claim) = object.and_then(|object| object.downcast_mut::<PersistentVolumeClaim>()) else {
            return Ok(());
        };
        if has_class(claim) {
            return Ok(());
        }
        let mut defaults = list::<StorageClass>(&self.0, "").await?;
        defaults.retain(|class| marked(&class.metadata, &DEFAULT));
        defaults.sort_by(|a, b| newest_first(&a.metadata, &b.metadata));
        if let Some(class) = defaults.first() {
            claim.spec.get_or_insert_default().storage_class_name.clone_from(&class.metadata.name);
        }
        Ok(())
    }
}
