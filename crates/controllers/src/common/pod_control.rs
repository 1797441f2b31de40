//! Creating and deleting pods for a controller: owner references, events, and batches that start slowly.

use super::owners::controller_reference;
use crate::context::Context;
use api::Kind;
use client::{DeleteOptions, EventType};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use machinery::Status;
use std::future::Future;
use std::sync::Arc;

/// Creates a pod owned by `owner`, and tells.
pub(crate) async fn create<O: Kind>(context: &Context, owner: &O, mut pod: Pod) -> Result<Arc<Pod>, Status> {
    let namespace = owner.meta().namespace.clone().unwrap_or_default();
    let owners = pod.metadata.owner_references.get_or_insert_default();
    if !owners.iter().any(|reference| reference.controller == Some(true)) {
        owners.push(controller_reference(owner));
    }
    pod.metadata.namespace = Some(namespace.clone());
    match context.client.namespaced::<Pod>(&namespace).create(&pod).await {
        Ok(created) => {
            let name = created.metadata.name.as_deref().unwrap_or("");
            context.recorder.event(
                owner,
                EventType::Normal,
                "SuccessfulCreate",
                format!("Created pod: {name}"),
            );
            Ok(created)
        }
        Err(status) => {
            // A namespace on its way out is no news.
            if !is_namespace_terminating(&status) {
                context.recorder.event(
                    owner,
                    EventType::Warning,
                    "FailedCreate",
                    format!("Error creating: {status}"),
                );
            }
            Err(status)
        }
    }
}

/// Deletes a pod of `owner`, and tells. A pod that is gone already is no failure.
pub(crate) async fn delete<O: Kind>(context: &Context, owner: &O, pod: &Pod) -> Result<(), Status> {
    let (name, namespace) =
        (pod.metadata.name.as_deref().unwrap_or(""), pod.metadata.namespace.as_deref().unwrap_or(""));
    let options = DeleteOptions { uid: pod.metadata.uid.clone(), ..DeleteOptions::default() };
    match context.client.namespaced::<Pod>(namespace).delete_with(name, &options).await {
        Ok(_) => {
            context.recorder.event(
                owner,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted pod: {name}"),
            );
            Ok(())
        }
        Err(status) if status.is_not_found() => Ok(()),
        Err(status) => {
            context.recorder.event(
                owner,
                EventType::Warning,
                "FailedDelete",
                format!("Error deleting: {status}"),
            );
            Err(status)
        }
    }
}

/// Whether a creation failed because its namespace is being deleted.
pub(crate) fn is_namespace_terminating(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        || (status.code == 403 && status.message.contains("because it is being terminated"))
}

/// Runs `total` calls in batches of 1, 2, 4…; stops after a batch with a failure, so that a hopeless creation is not tried
/// hundreds of times. Returns how many succeeded and the first failure.
pub(crate) async fn slow_start<F, Fut>(total: usize, mut call: F) -> (usize, Option<Status>)
where
    F: FnMut(usize) -> Fut,
    Fut: Future<Output = Result<(), Status>>,
{
    let (mut done, mut batch, mut next) = (0, 1, 0);
    while next < total {
        let end = (next + batch).min(total);
        let outcomes = join_all((next..end).map(&mut call)).await;
        done += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if let Some(failure) = outcomes.into_iter().find_map(Result::err) {
            return (done, Some(failure));
        }
        next = end;
        batch *= 2;
    }
    (done, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn batches_grow_and_stop_at_a_failure() {
        let calls = Mutex::new(0);
        let (done, failure) = slow_start(100, |at| {
            *calls.lock() += 1;
            async move { if at == 4 { Err(Status::internal("no")) } else { Ok(()) } }
        })
        .await;
        assert!(failure.is_some());
        // 1, 2 and 4 were tried.
        assert_eq!((done, *calls.lock()), (6, 7));
    }
}
