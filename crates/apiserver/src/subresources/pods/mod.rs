//! Subresources of pods that write: binding, eviction, ephemeral containers, resize.

pub(super) mod binding;
pub(super) mod ephemeral_containers;
pub(super) mod eviction;
pub(super) mod resize;

use api::transport::Target;
use machinery::{GroupResource, GroupVersionResource};

/// The pods of a namespace.
fn target(namespace: &str, name: &str) -> Target {
    Target::all(GroupVersionResource::new("", "v1", "pods")).in_namespace(namespace).named(name)
}

fn resource() -> GroupResource {
    GroupResource::new("", "pods")
}
