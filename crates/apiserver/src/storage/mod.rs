//! Where objects live in the store, and how the store's errors read at the API.
//!
//! Deliberately absent: any decision about objects.

pub mod encryption;

use bytes::Bytes;
use machinery::{GroupResource, Reason, Status, StatusDetails};
use store::StoreError;

/// Every object's key starts with this, as upstream's do.
pub const ROOT: &str = "/registry/";

/// The prefix of a key space: `/registry/pods/`, `/registry/apps/deployments/`.
pub fn prefix(storage: &GroupResource) -> String {
    if storage.group.is_empty() {
        format!("{ROOT}{}/", storage.resource)
    } else {
        format!("{ROOT}{}/{}/", storage.group, storage.resource)
    }
}

/// The key of an object inside its key space: `namespace/name`, or `name` for cluster-scoped ones.
pub fn local_key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// The full key of an object.
pub fn key(storage: &GroupResource, namespace: &str, name: &str) -> Bytes {
    Bytes::from(prefix(storage) + &local_key(namespace, name))
}

/// What a failure of the store means to a client.
pub fn status(error: &StoreError) -> Status {
    match error {
        StoreError::Compacted { oldest } => Status::expired(format!(
            "The resourceVersion for the provided list is too old. Oldest is {oldest}."
        )),
        StoreError::Future { current } => too_large(0, *current),
        StoreError::Closed => Status::unavailable("the server is shutting down; try again on another server"),
        StoreError::NoSpace { .. } => Status::internal(error),
        // Nothing was done: clients may try again.
        StoreError::Unavailable(_) => Status::unavailable(error.to_string()),
        // Clients must not try again blindly, so they are not told when to.
        StoreError::Unknown(_) => Status::new(504, Reason::Timeout, error.to_string()),
        other => {
            tracing::error!(error = %other, "the store failed");
            Status::internal(other)
        }
    }
}

/// 504 for a resource version that has not come to pass.
pub fn too_large(wanted: i64, current: i64) -> Status {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let cause = machinery::StatusCause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    Status::new(504, Reason::Timeout, message).with_details(StatusDetails {
        causes: vec![cause],
        retry_after_seconds: 1,
        ..StatusDetails::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_out_by_group_and_namespace() {
        assert_eq!(key(&GroupResource::new("", "pods"), "a", "b"), "/registry/pods/a/b");
        assert_eq!(key(&GroupResource::new("", "nodes"), "", "n"), "/registry/nodes/n");
        assert_eq!(
            key(&GroupResource::new("apps", "deployments"), "a", "b"),
            "/registry/apps/deployments/a/b"
        );
    }
}
