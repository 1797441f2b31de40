//! The claims of a StatefulSet's pods: made before the pod, kept for ever unless the retention policy says otherwise
//! (KEP-1847).

use super::{identity, plan};
use crate::common::owners::{controller_reference, to_json};
use crate::context::Context;
use client::{EventType, Informer, Patch};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use machinery::Status;
use std::sync::Arc;

/// Makes the claims of an ordinal that are not there.
pub(super) async fn create(
    context: &Context,
    claims: &Informer<PersistentVolumeClaim>,
    set: &StatefulSet,
    ordinal: i32,
) -> Result<(), Status> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or("");
    for claim in identity::claims(set, ordinal) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        if claims.store().find(namespace, &name).is_some() {
            continue;
        }
        let (pod, set_name) = (identity::pod_name(set, ordinal), set.metadata.name.as_deref().unwrap_or(""));
        match context.client.namespaced::<PersistentVolumeClaim>(namespace).create(&claim).await {
            Ok(_) => {
                let text = format!("create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                context.recorder.event(set, EventType::Normal, "SuccessfulCreate", text);
            }
            Err(status) if status.is_already_exists() => {}
            Err(status) => {
                let text = format!(
                    "create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {status}"
                );
                context.recorder.event(set, EventType::Warning, "FailedCreate", text);
                return Err(status);
            }
        }
    }
    Ok(())
}

/// Sets the owners of claims by the retention policy, so that the garbage collector deletes what is not to be kept.
pub(super) async fn apply_retention(
    context: &Context,
    claims: &Informer<PersistentVolumeClaim>,
    set: &StatefulSet,
    pods: &[Arc<Pod>],
) -> Result<(), Status> {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.clone());
    let policy = policy.unwrap_or_default();
    let deletes = |field: &Option<String>| field.as_deref() == Some("Delete");
    let (when_deleted, when_scaled) = (deletes(&policy.when_deleted), deletes(&policy.when_scaled));
    let wanted = plan::wanted_names(set);
    let namespace = set.metadata.namespace.as_deref().unwrap_or("");
    for pod in pods {
        let Some(ordinal) = identity::ordinal_of(set, pod) else { continue };
        let condemned = !pod.metadata.name.as_ref().is_some_and(|name| wanted.contains(name));
        for claim in identity::claims(set, ordinal) {
            let name = claim.metadata.name.as_deref().unwrap_or("");
            let Some(claim) = claims.store().find(namespace, name) else { continue };
            let owners = owners(set, pod, &claim, when_deleted, when_scaled && condemned);
            if owners == claim.metadata.owner_references.clone().unwrap_or_default() {
                continue;
            }
            let patch = serde_json::json!({"metadata": {
                "resourceVersion": claim.metadata.resource_version,
                "ownerReferences": owners.iter().map(to_json).collect::<Vec<_>>(),
            }});
            let api = context.client.namespaced::<PersistentVolumeClaim>(namespace);
            match api.patch(name, Patch::Merge(patch.to_string().into())).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
    }
    Ok(())
}

fn owners(
    set: &StatefulSet,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
    by_set: bool,
    by_pod: bool,
) -> Vec<OwnerReference> {
    let mut owners = claim.metadata.owner_references.clone().unwrap_or_default();
    let uids = [set.metadata.uid.as_deref().unwrap_or(""), pod.metadata.uid.as_deref().unwrap_or("")];
    owners.retain(|owner| !uids.contains(&owner.uid.as_str()));
    if by_pod {
        let reference = controller_reference(pod);
        owners.push(OwnerReference { controller: None, block_owner_deletion: None, ..reference });
    } else if by_set {
        let reference = controller_reference(set);
        owners.push(OwnerReference { controller: None, block_owner_deletion: None, ..reference });
    }
    owners
}
