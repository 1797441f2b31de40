//! Claiming dependents: a controller adopts what its selector matches and nobody controls, and releases what it controls
//! but no longer matches (API conventions, "Controller references").

use super::owners::{controller_of, controller_reference, is_controlled_by, to_json};
use api::Kind;
use client::{Client, Patch};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::Status;
use machinery::labels::Selector;
use serde_json::json;
use std::sync::Arc;

/// What to do with the candidates.
#[derive(Debug)]
pub(crate) struct Claim<C> {
    /// They are ours.
    pub(crate) owned: Vec<Arc<C>>,
    /// They shall become ours.
    pub(crate) adopt: Vec<Arc<C>>,
    /// They are no longer ours.
    pub(crate) release: Vec<Arc<C>>,
}

/// Decides about candidates in the owner's namespace.
pub(crate) fn plan<C: Kind>(owner: &ObjectMeta, selector: &Selector, candidates: Vec<Arc<C>>) -> Claim<C> {
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let leaving = owner.deletion_timestamp.is_some();
    for candidate in candidates {
        let meta = candidate.meta();
        let matches = selector.matches(&meta.labels);
        if is_controlled_by(meta, owner) {
            if matches || leaving {
                claim.owned.push(candidate);
            } else {
                claim.release.push(candidate);
            }
        } else if controller_of(meta).is_none() && matches && !leaving && meta.deletion_timestamp.is_none() {
            claim.adopt.push(candidate);
        }
    }
    claim
}

/// Carries a claim out; returns what is ours afterwards. Objects that changed or went meanwhile are left for the event
/// that tells so.
pub(crate) async fn execute<O: Kind, C: Kind>(
    client: &Client,
    owner: &O,
    claim: Claim<C>,
) -> Result<Vec<Arc<C>>, Status> {
    let mut owned = claim.owned;
    if !claim.adopt.is_empty() && still_wants(client, owner).await? {
        for object in &claim.adopt {
            let mut owners = object.meta().owner_references.clone().unwrap_or_default();
            owners.push(controller_reference(owner));
            if let Some(adopted) = write_owners(client, &**object, &owners).await? {
                owned.push(adopted);
            }
        }
    }
    for object in &claim.release {
        let mut owners = object.meta().owner_references.clone().unwrap_or_default();
        owners.retain(|reference| Some(&reference.uid) != owner.meta().uid.as_ref());
        write_owners(client, &**object, &owners).await?;
    }
    Ok(owned)
}

/// Asks the API itself, because a stale cache must not let a deleted owner adopt.
async fn still_wants<O: Kind>(client: &Client, owner: &O) -> Result<bool, Status> {
    let meta = owner.meta();
    let api = client.namespaced::<O>(meta.namespace.as_deref().unwrap_or(""));
    let fresh = api.get_opt(meta.name.as_deref().unwrap_or("")).await?;
    Ok(fresh.is_some_and(|fresh| fresh.meta().uid == meta.uid && fresh.meta().deletion_timestamp.is_none()))
}

async fn write_owners<C: Kind>(
    client: &Client,
    object: &C,
    owners: &[OwnerReference],
) -> Result<Option<Arc<C>>, Status> {
    let meta = object.meta();
    let owners: Vec<_> = owners.iter().map(to_json).collect();
    // The resource version makes the patch fail when the object changed, because a merge patch replaces the list.
    let patch = json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners,
    }});
    let api = client.namespaced::<C>(meta.namespace.as_deref().unwrap_or(""));
    match api.patch(meta.name.as_deref().unwrap_or(""), Patch::Merge(patch.to_string().into())).await {
        Ok(written) => Ok(Some(written)),
        Err(status) if status.is_not_found() || status.is_conflict() => Ok(None),
        Err(status) => Err(status),
    }
}
