//! What an update may not change in metadata.

use super::validate_common;
use crate::common::{items, text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use machinery::field::BadValue;
use machinery::{FieldErrors, FieldPath};

/// Carries over what clients may leave out of an update, and what the server alone counts.
pub fn prepare_update(meta: &mut ObjectMeta, old: &ObjectMeta) {
    fn keep<T: Clone>(new: &mut Option<T>, old: &Option<T>) {
        if new.is_none() {
            new.clone_from(old);
        }
    }
    if text(&meta.uid).is_empty() {
        meta.uid.clone_from(&old.uid);
    }
    keep(&mut meta.creation_timestamp, &old.creation_timestamp);
    keep(&mut meta.deletion_timestamp, &old.deletion_timestamp);
    keep(&mut meta.deletion_grace_period_seconds, &old.deletion_grace_period_seconds);
    keep(&mut meta.managed_fields, &old.managed_fields);
    meta.generation = old.generation;
    meta.self_link = None;
}

/// Keeps everything in metadata but managed fields: what most kinds allow an update of `status`.
pub fn prepare_status_update(meta: &mut ObjectMeta, old: &ObjectMeta) {
    meta.deletion_timestamp.clone_from(&old.deletion_timestamp);
    meta.generation = old.generation;
    meta.labels.clone_from(&old.labels);
    meta.annotations.clone_from(&old.annotations);
    meta.finalizers.clone_from(&old.finalizers);
    meta.owner_references.clone_from(&old.owner_references);
}

/// Checks the metadata of an update.
pub fn validate_update(meta: &ObjectMeta, old: &ObjectMeta, errors: &mut FieldErrors) {
    let path = FieldPath::new("metadata");
    if let Some(old_generation) = old.generation
        && let Some(generation) = meta.generation
        && generation < old_generation
    {
        errors.invalid(path.child("generation"), generation, "must not be decremented");
    }
    if old.deletion_timestamp.is_some() {
        let known = items(&old.finalizers);
        let new: Vec<&String> = items(&meta.finalizers).iter().filter(|f| !known.contains(f)).collect();
        if !new.is_empty() {
            // The set is printed in Go's syntax, which is what clients have seen since the beginning.
            let set: Vec<String> = new.iter().map(|f| format!("{f:?}:sets.Empty{{}}")).collect();
            errors.forbidden(
                path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers \
                     sets.Set[string]{{{}}}",
                    set.join(", ")
                ),
            );
        }
    }
    for (field, new, old) in [
        ("name", &meta.name, &old.name),
        ("namespace", &meta.namespace, &old.namespace),
        ("uid", &meta.uid, &old.uid),
    ] {
        errors.immutable(path.child(field), &text(new), &text(old), text(new));
    }
    let times = [
        ("creationTimestamp", &meta.creation_timestamp, &old.creation_timestamp),
        ("deletionTimestamp", &meta.deletion_timestamp, &old.deletion_timestamp),
    ];
    for (field, new, old) in times {
        // Stored times have whole seconds; a client may send fractions back.
        let second = |time: &Option<Time>| time.as_ref().map(|t| t.0.as_second());
        errors.immutable(path.child(field), &second(new), &second(old), PrintedTime(new));
    }
    errors.immutable(
        path.child("deletionGracePeriodSeconds"),
        &meta.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
        serde_json::json!(meta.deletion_grace_period_seconds),
    );
    validate_common(meta, &path, errors);
}

struct PrintedTime<'a>(&'a Option<Time>);

impl BadValue for PrintedTime<'_> {
    fn print(&self) -> String {
        self.0.as_ref().map_or_else(|| "null".to_owned(), |time| format!("\"{:.0}\"", time.0))
    }
}
