//! `v1` Namespace: the finalizer that holds it until its contents are gone, and the phase that shows it.

use crate::common::names::{self, Messages};
use crate::common::{default_text, items, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, Object, ResourceDef, Rules, Verb, meta};
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(Namespace);

/// The finalizer of every namespace, which the namespace controller removes.
pub const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Rules for Namespace {
    fn check_name(name: &str, prefix: bool) -> Messages {
        names::label(name, prefix)
    }

    fn set_defaults(&mut self) {
        if let Some(name) = self.metadata.name.clone().filter(|name| !name.is_empty()) {
            self.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
        }
        default_text(&mut self.status.get_or_insert_default().phase, "Active");
    }

    fn prepare_create(&mut self) {
        self.status =
            Some(NamespaceStatus { phase: Some("Active".to_owned()), ..NamespaceStatus::default() });
        let finalizers = self.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        // A generated name is known only now.
        self.set_defaults();
    }

    fn prepare_update(&mut self, old: &Self) {
        // Finalizers change through the subresource `finalize`.
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let finalizers = self.spec.as_ref().map(|spec| items(&spec.finalizers)).unwrap_or_default();
        validate_finalizers(finalizers, errors);
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let phase = self.status.as_ref().map(|status| text(&status.phase)).unwrap_or_default();
        let at = FieldPath::new("status").child("Phase");
        match (self.metadata.deletion_timestamp.is_some(), phase) {
            (true, "Active") => {
                errors.invalid(at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
            (false, "Terminating") => {
                errors.invalid(at, phase, "may only be 'Active' if `deletionTimestamp` is empty");
            }
            _ => {}
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "string", "Whether it is active or being removed."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let phase = self.status.as_ref().map(|status| text(&status.phase)).unwrap_or_default();
        vec![name_cell(self), json!(phase), age_cell(self, now)]
    }
}

fn validate_finalizers(finalizers: &[String], errors: &mut FieldErrors) {
    meta::validate_finalizers(finalizers, &FieldPath::new("spec").child("finalizers"), errors);
}

/// What the subresource `finalize` changes: nothing but `spec.finalizers`.
pub fn prepare_finalize(namespace: &mut Namespace, old: &Namespace) {
    let spec = namespace.spec.take();
    let version = namespace.meta_mut().resource_version.take();
    *namespace = old.clone();
    namespace.metadata.resource_version = version;
    namespace.spec = spec;
}

/// The resource `namespaces`.
pub fn def() -> ResourceDef {
    // A collection of namespaces cannot be deleted at once.
    let verbs = [Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
    ResourceDef::of::<Namespace>()
        .short(&["ns"])
        .verbs(&verbs)
        .subresource("finalize", None, &[Verb::Update])
        .status()
        .select::<Namespace>("status.phase", |namespace| {
            namespace.status.as_ref().map(|status| text(&status.phase).to_owned()).unwrap_or_default()
        })
}
