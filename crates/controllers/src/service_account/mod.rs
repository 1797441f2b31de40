//! Keeps the service account `default` in every namespace.

use crate::common::owners::enqueue;
use crate::context::Context;
use client::{ObjectKey, Requeue, run_workers};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use machinery::Status;

const NAME: &str = "default";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.informer::<Namespace>();
    let accounts = context.informers.informer::<ServiceAccount>();
    let queue = context.queue::<ObjectKey>();
    enqueue(&namespaces, &queue);
    let deleted = queue.clone();
    accounts.on_event(move |event| {
        let meta = &event.object().metadata;
        if event.is_deleted() && meta.name.as_deref() == Some(NAME) {
            deleted.add(ObjectKey::cluster(meta.namespace.as_deref().unwrap_or("")));
        }
    });
    namespaces.synced().await;
    accounts.synced().await;
    let worker = context.clone();
    run_workers("serviceaccount-controller", 1, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, namespaces, accounts) = (worker.clone(), namespaces.clone(), accounts.clone());
        async move {
            let active = namespaces.store().get(&key).is_some_and(|ns| is_active(&ns));
            if !active || accounts.store().find(&key.name, NAME).is_some() {
                return Ok::<_, Status>(Requeue::No);
            }
            let mut account = ServiceAccount::default();
            account.metadata.name = Some(NAME.to_owned());
            account.metadata.namespace = Some(key.name.to_string());
            absorb(context.client.namespaced::<ServiceAccount>(&key.name).create(&account).await.map(drop))
        }
    });
    context.tasks.stopping().cancelled().await;
}

/// Whether new objects may be made in a namespace.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// A creation that somebody else did, or that came too late for its namespace, is done.
pub(crate) fn absorb(outcome: Result<(), Status>) -> Result<Requeue, Status> {
    match outcome {
        Ok(()) => Ok(Requeue::No),
        Err(status) if status.is_already_exists() || status.is_not_found() => Ok(Requeue::No),
        Err(status) if crate::common::pod_control::is_namespace_terminating(&status) => Ok(Requeue::No),
        Err(status) => Err(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;

    #[tokio::test]
    async fn every_namespace_has_one_again_after_a_deletion() {
        let world = World::new();
        let client = world.client();
        world.start(run);
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("web".to_owned());
        client.all::<Namespace>().create(&namespace).await.unwrap();
        let there =
            || world.api.objects::<ServiceAccount>().iter().filter_map(|a| a.metadata.uid.clone()).next();
        world.until("the account is made", || there().is_some()).await;
        let first = there();
        client.namespaced::<ServiceAccount>("web").delete(NAME).await.unwrap();
        world.until("it is made again", || there().is_some_and(|uid| Some(uid) != first)).await;
    }
}
