//! What claims and their templates ask for.

use crate::common::{default, default_text, items, names};
use k8s_openapi::api::resource::v1::ResourceClaimSpec;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeSet;

/// Most requests of a claim.
const MAX_REQUESTS: usize = 32;

/// Fills a claim: one device unless it says otherwise.
pub(super) fn defaults(spec: &mut ResourceClaimSpec) {
    let Some(devices) = &mut spec.devices else { return };
    for request in devices.requests.iter_mut().flatten() {
        if let Some(exactly) = &mut request.exactly {
            default_text(&mut exactly.allocation_mode, "ExactCount");
            if exactly.allocation_mode.as_deref() == Some("ExactCount") {
                default(&mut exactly.count, 1);
            }
        }
        for choice in request.first_available.iter_mut().flatten() {
            default_text(&mut choice.allocation_mode, "ExactCount");
            if choice.allocation_mode.as_deref() == Some("ExactCount") {
                default(&mut choice.count, 1);
            }
        }
    }
}

/// Reports requests without a name, a class, or exactly one way of being met.
pub(super) fn validate_claim(spec: &ResourceClaimSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("devices").child("requests");
    let requests = spec.devices.as_ref().map(|devices| items(&devices.requests)).unwrap_or_default();
    if requests.len() > MAX_REQUESTS {
        errors.too_many(path.clone(), requests.len(), MAX_REQUESTS);
    }
    let mut seen = BTreeSet::new();
    for (at, request) in requests.iter().enumerate() {
        let at = path.index(at);
        names::report(at.child("name"), &request.name, names::dns1123_label(&request.name), errors);
        if !seen.insert(&request.name) {
            errors.duplicate(at.child("name"), &request.name);
        }
        match (&request.exactly, items(&request.first_available)) {
            (Some(exactly), []) => {
                class(&exactly.device_class_name, &at.child("exactly"), errors);
            }
            (None, choices @ [_, ..]) => {
                for (index, choice) in choices.iter().enumerate() {
                    class(&choice.device_class_name, &at.child("firstAvailable").index(index), errors);
                }
            }
            (None, []) => {
                errors.required(at, "exactly one of `exactly` or `firstAvailable` is required");
            }
            (Some(_), _) => errors.invalid(
                at,
                serde_json::Value::Null,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            ),
        }
    }
}

fn class(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("deviceClassName");
    if name.is_empty() {
        errors.required(at, "");
    } else {
        names::report(at, name, names::dns1123_subdomain(name), errors);
    }
}
