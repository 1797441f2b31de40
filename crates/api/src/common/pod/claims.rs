//! `spec.resourceClaims` of a pod, and the claims that its containers name (KEP-4381).

use crate::common::names;
use k8s_openapi::api::core::v1::{PodResourceClaim, ResourceClaim};
use machinery::{FieldErrors, FieldPath};
use serde_json::json;
use std::collections::BTreeSet;

fn printed(claim: &PodResourceClaim) -> serde_json::Value {
    let mut value = json!({"name": claim.name});
    if let Some(name) = &claim.resource_claim_name {
        value["resourceClaimName"] = json!(name);
    }
    if let Some(name) = &claim.resource_claim_template_name {
        value["resourceClaimTemplateName"] = json!(name);
    }
    value
}

/// Reports bad claims of a pod. Returns the good names, which containers may use.
pub(super) fn validate<'a>(
    claims: &'a [PodResourceClaim],
    path: &FieldPath,
    errors: &mut FieldErrors,
) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    for (at, claim) in claims.iter().enumerate() {
        let at = path.index(at);
        if claim.name.is_empty() {
            errors.required(at.child("name"), "");
        } else if !known.insert(claim.name.as_str()) {
            errors.duplicate(at.child("name"), &claim.name);
        } else {
            names::report(at.child("name"), &claim.name, names::dns1123_label(&claim.name), errors);
        }
        let sources = [
            ("resourceClaimName", &claim.resource_claim_name),
            ("resourceClaimTemplateName", &claim.resource_claim_template_name),
        ];
        match sources.iter().filter(|(_, name)| name.is_some()).count() {
            0 => errors.invalid(
                at.clone(),
                printed(claim),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            1 => {}
            _ => errors.invalid(
                at.clone(),
                printed(claim),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
        for (field, name) in sources {
            if let Some(name) = name {
                names::report(at.child(field), name, names::dns1123_subdomain(name), errors);
            }
        }
    }
    known
}

/// Reports claims of a container that its pod does not have, or that it names twice.
pub(super) fn validate_used(
    used: &[ResourceClaim],
    known: &BTreeSet<&str>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let mut seen = BTreeSet::new();
    for (at, claim) in used.iter().enumerate() {
        let at = path.index(at);
        let request = claim.request.as_deref().unwrap_or_default();
        if claim.name.is_empty() {
            errors.required(at.child("name"), "");
            continue;
        }
        // The whole claim and one of its requests overlap.
        let is_taken = seen.contains(&(claim.name.as_str(), request))
            || seen.contains(&(claim.name.as_str(), ""))
            || (request.is_empty() && seen.iter().any(|(name, _)| *name == claim.name));
        if is_taken {
            let value =
                if request.is_empty() { claim.name.clone() } else { format!("{}/{request}", claim.name) };
            errors.duplicate(at.clone(), value);
        }
        seen.insert((claim.name.as_str(), request));
        if !request.is_empty() {
            names::report(at.child("request"), request, names::dns1123_label(request), errors);
        }
        if !known.contains(claim.name.as_str()) {
            errors.not_found(at.child("name"), &claim.name);
        }
    }
}
