//! What several kinds share: small readers of optional fields, and rules for selectors, pod templates,
//! resource amounts, networks and conditions.
//!
//! Deliberately absent: anything that only one kind needs; it stands in that kind's file.

pub mod amounts;
pub mod conditions;
pub mod diff;
pub mod int_or_percent;
pub mod json;
pub mod names;
pub mod net;
pub mod numbers;
pub mod pod;
pub mod print;
pub mod selector;
pub mod status;
pub mod volume_claim;
pub mod workload;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An optional text, empty when unset.
pub fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

/// An optional list, empty when unset.
pub fn items<T>(value: &Option<Vec<T>>) -> &[T] {
    value.as_deref().unwrap_or_default()
}

/// Sets an optional text that is unset or empty.
pub fn default_text(slot: &mut Option<String>, value: &str) {
    if slot.as_deref().is_none_or(str::is_empty) {
        *slot = Some(value.to_owned());
    }
}

/// Sets an optional number that is unset or zero, as upstream does for fields where zero means unset.
pub fn default_nonzero<T: Default + PartialEq>(slot: &mut Option<T>, value: T) {
    if slot.as_ref().is_none_or(|v| *v == T::default()) {
        *slot = Some(value);
    }
}

/// Sets an optional value that is unset.
pub fn default<T>(slot: &mut Option<T>, value: T) {
    if slot.is_none() {
        *slot = Some(value);
    }
}

/// Starts counting generations: what a creation of a kind with a spec does.
pub fn first_generation(meta: &mut ObjectMeta) {
    meta.generation = Some(1);
}

/// Counts a generation when the desired state changed, or when deletion began.
pub fn next_generation(meta: &mut ObjectMeta, old: &ObjectMeta, changed: bool) {
    let generation = old.generation.unwrap_or_default();
    meta.generation = if changed { Some(generation + 1) } else { old.generation };
}
