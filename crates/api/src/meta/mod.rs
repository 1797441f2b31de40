//! Metadata rules that hold for every kind: what the server fills in, what is malformed, what may change.
//!
//! Source: API conventions, "Metadata" and "Names and UIDs". The registry calls these around the kind's own
//! [`Rules`](crate::Rules). Deliberately absent: random numbers and clocks, which the caller brings.

mod owners;
mod update;

use crate::common::names::{self, NameCheck};
use crate::common::{items, text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};

pub use machinery::names::generate_name;
pub use update::{prepare_status_update, prepare_update, validate_update};

/// Fills what the server decides on creation and clears what a client may not set.
pub fn prepare_create(meta: &mut ObjectMeta, now: Timestamp, uid: String) {
    meta.creation_timestamp = Some(Time(now));
    meta.uid = Some(uid);
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.self_link = None;
    meta.resource_version = None;
    meta.generation = None;
}

/// Checks the metadata of a new object.
pub fn validate_create(meta: &ObjectMeta, namespaced: bool, check: NameCheck, errors: &mut FieldErrors) {
    validate(meta, namespaced, check, &FieldPath::new("metadata"), errors);
}

/// Checks metadata at `path`, also inside other objects.
pub fn validate(
    meta: &ObjectMeta,
    namespaced: bool,
    check: NameCheck,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    if !text(&meta.generate_name).is_empty() {
        let base = text(&meta.generate_name);
        names::report(path.child("generateName"), base, check(base, true), errors);
    }
    match text(&meta.name) {
        "" => errors.required(path.child("name"), "name or generateName is required"),
        name => names::report(path.child("name"), name, check(name, false), errors),
    }
    validate_namespace(meta, namespaced, path, errors);
    validate_common(meta, path, errors);
}

fn validate_namespace(meta: &ObjectMeta, namespaced: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("namespace");
    match (namespaced, text(&meta.namespace)) {
        (true, "") => errors.required(at, ""),
        (true, namespace) => names::report(at, namespace, names::dns1123_label(namespace), errors),
        (false, "") => {}
        (false, _) => errors.forbidden(at, "not allowed on this type"),
    }
}

/// Checks what a name's kind does not matter for.
fn validate_common(meta: &ObjectMeta, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(generation @ ..0) = meta.generation {
        errors.invalid(path.child("generation"), generation, "must be greater than or equal to 0");
    }
    if let Some(labels) = &meta.labels {
        names::validate_labels(labels, &path.child("labels"), errors);
    }
    if let Some(annotations) = &meta.annotations {
        names::validate_annotations(annotations, &path.child("annotations"), errors);
    }
    owners::validate(items(&meta.owner_references), &path.child("ownerReferences"), errors);
    validate_finalizers(items(&meta.finalizers), &path.child("finalizers"), errors);
}

/// What is said about a finalizer without a domain. Custom resources and their definitions may have those.
pub const UNQUALIFIED_FINALIZER: &str = "name is neither a standard finalizer name nor is it fully qualified";

/// Checks a list of finalizers.
pub fn validate_finalizers(finalizers: &[String], path: &FieldPath, errors: &mut FieldErrors) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    for name in finalizers {
        names::report(path.clone(), name, names::qualified_name(name), errors);
        if !name.contains('/') && !STANDARD.contains(&name.as_str()) {
            errors.invalid(path.clone(), name, UNQUALIFIED_FINALIZER);
        }
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(
            path.clone(),
            serde_json::json!(finalizers),
            "finalizer orphan and foregroundDeletion cannot be both set",
        );
    }
}
