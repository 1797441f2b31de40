//! [`Rules`]: what a kind's file writes down, in terms of the kind's own type.

use crate::common::names::{self, Messages};
use crate::object::Kind;
use crate::resource::Column;
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::Value;

/// Defaulting, validation and printing of one kind. Every method has a default that does nothing, so a
/// kind's file holds only what is particular to it. Metadata is defaulted and validated by the registry.
///
/// Order of calls (API conventions; upstream's rest strategies): `set_defaults`, `prepare_*`, admission,
/// `validate_*`. Before `prepare_create` the metadata is complete: name, namespace and UID are set, because
/// some kinds derive other fields from them.
pub trait Rules: Kind {
    /// Checks a name, or with `true` the prefix of a generated one. Most kinds take DNS subdomains.
    fn check_name(name: &str, prefix: bool) -> Messages {
        names::subdomain(name, prefix)
    }

    /// Fills unset fields. Must be idempotent.
    fn set_defaults(&mut self) {}

    /// Clears what a client may not set on creation (usually `status`) and sets initial values
    /// (`metadata.generation = 1` where the kind has one).
    fn prepare_create(&mut self) {}

    /// Keeps what an update of the main resource may not change (usually `status`) and bumps
    /// `metadata.generation` when the spec differs.
    fn prepare_update(&mut self, old: &Self) {
        let _ = old;
    }

    /// Keeps what an update of `status` may not change (everything else but metadata's managed parts).
    fn prepare_status_update(&mut self, old: &Self) {
        let _ = old;
    }

    /// Reports what is wrong with a new object.
    fn validate_create(&self, errors: &mut FieldErrors) {
        let _ = errors;
    }

    /// Reports what is wrong with an update, immutable fields included.
    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let _ = old;
        self.validate_create(errors);
    }

    /// Reports what is wrong with an update of `status`.
    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        let _ = (old, errors);
    }

    /// Texts for `Warning` headers.
    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let _ = old;
        Vec::new()
    }

    /// The columns of its table, `Name` first.
    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::age()]
    }

    /// The cells of its row, one per column. `now` is for ages.
    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![crate::resource::name_cell(self), crate::resource::age_cell(self, now)]
    }
}
