//! What is left in a namespace, as conditions.

use crate::common::conditions::{new, set};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use machinery::{GroupResource, Status};
use std::collections::BTreeMap;

/// Objects of one resource that are still there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) resource: GroupResource,
    pub(super) count: usize,
    /// One entry per object and finalizer.
    pub(super) finalizers: Vec<String>,
}

/// What is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Remaining {
    pub(super) found: Vec<Found>,
    pub(super) failures: Vec<Status>,
}

impl Remaining {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.failures.is_empty()
    }

    /// Whether pods are still there; they take their time to stop.
    pub(super) fn has_pods(&self) -> bool {
        self.found.iter().any(|found| found.resource.group.is_empty() && found.resource.resource == "pods")
    }

    /// How many objects each finalizer holds.
    pub(super) fn finalizers(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for finalizer in self.found.iter().flat_map(|found| &found.finalizers) {
            *counts.entry(finalizer.as_str()).or_insert(0) += 1;
        }
        counts
    }
}

/// Writes the five conditions of namespace deletion, with upstream's reasons and messages.
pub(super) fn conditions(into: &mut Option<Vec<NamespaceCondition>>, remaining: &Remaining, now: Timestamp) {
    let mut put = |kind: &str, status: &str, reason: &str, message: &str| {
        set(into, new(kind, status, reason, message, now));
    };
    put(
        "NamespaceDeletionDiscoveryFailure",
        "False",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    );
    put(
        "NamespaceDeletionGroupVersionParsingFailure",
        "False",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    );
    if remaining.failures.is_empty() {
        put(
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        );
    } else {
        let failures: Vec<_> = remaining.failures.iter().map(|status| status.message.as_str()).collect();
        put("NamespaceDeletionContentFailure", "True", "ContentDeletionFailed", &failures.join(", "));
    }
    if remaining.found.is_empty() {
        put("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed");
    } else {
        let rows = remaining.found.iter().map(|found| {
            let GroupResource { group, resource } = &found.resource;
            format!("{resource}.{group} has {} resource instances", found.count)
        });
        let message = format!("Some resources are remaining: {}", rows.collect::<Vec<_>>().join(", "));
        put("NamespaceContentRemaining", "True", "SomeResourcesRemain", &message);
    }
    let finalizers = remaining.finalizers();
    if finalizers.is_empty() {
        put(
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        );
    } else {
        let rows: Vec<_> =
            finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
        let message = format!("Some content in the namespace has finalizers remaining: {}", rows.join(", "));
        put("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", &message);
    }
}
