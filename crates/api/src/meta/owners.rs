//! Owner references: complete, never an Event, at most one controller.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use machinery::gvk::GroupVersion;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

/// Checks the owner references at `path`.
pub(super) fn validate(owners: &[OwnerReference], path: &FieldPath, errors: &mut FieldErrors) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        validate_one(owner, path, errors);
        if owner.controller != Some(true) {
            continue;
        }
        if let Some(first) = controller {
            errors.invalid(
                path.clone(),
                Value::Array(owners.iter().map(printed).collect()),
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    first.kind, first.name, owner.kind, owner.name
                ),
            );
        } else {
            controller = Some(owner);
        }
    }
}

fn validate_one(owner: &OwnerReference, path: &FieldPath, errors: &mut FieldErrors) {
    if GroupVersion::parse(&owner.api_version).is_none_or(|gv| gv.version.is_empty()) {
        errors.invalid(path.child("apiVersion"), &owner.api_version, "version must not be empty");
    }
    let fields = [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)];
    for (field, value) in fields {
        if value.is_empty() {
            errors.invalid(path.child(field), value, "must not be empty");
        }
    }
    if owner.api_version == "v1" && owner.kind == "Event" {
        errors.invalid(path.clone(), printed(owner), "/v1, Kind=Event is disallowed from being an owner");
    }
}

fn printed(owner: &OwnerReference) -> Value {
    let mut object = json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    });
    if let Some(controller) = owner.controller {
        object["controller"] = controller.into();
    }
    if let Some(block) = owner.block_owner_deletion {
        object["blockOwnerDeletion"] = block.into();
    }
    object
}
