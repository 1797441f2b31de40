//! Deleting a definition deletes its objects first: a finalizer holds it until they are gone.

use super::{names, resource, target};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::Object;
use api::common::items;
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::k8s_openapi::jiff::Timestamp;
use api::transport::{DeleteOptions, ListOptions, Target, WatchEvent, WriteOptions};
use async_trait::async_trait;
use futures::StreamExt;
use machinery::{GroupVersionResource, Status};
use std::time::Duration;

const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const RETRY: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 30;

/// The admission plugin that gives every new definition the finalizer. Upstream's registry does this.
pub struct CleanupFinalizer;

#[async_trait]
impl Admission for CleanupFinalizer {
    fn name(&self) -> &'static str {
        "CustomResourceCleanup"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if !request.is("apiextensions.k8s.io", "customresourcedefinitions") {
            return Ok(());
        }
        if let Some(object) = request.object.as_deref_mut() {
            let finalizers = object.meta_mut().finalizers.get_or_insert_default();
            if !finalizers.iter().any(|known| known == FINALIZER) {
                finalizers.push(FINALIZER.to_owned());
            }
        }
        Ok(())
    }
}

/// Whether objects may still have to go.
pub(super) fn is_pending(crd: &CustomResourceDefinition) -> bool {
    items(&crd.metadata.finalizers).iter().any(|finalizer| finalizer == FINALIZER)
}

/// Deletes the objects of a definition, then lets it go, in a task of its own.
pub(super) fn spawn(context: &Context, crd: &CustomResourceDefinition) {
    let (context, crd) = (context.clone(), crd.clone());
    let tasks = context.tasks.clone();
    tasks.spawn_until_stopped("custom resource cleanup", async move {
        while let Err(error) = clean(&context, &crd).await {
            let name = crd.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(name, %error, "failed to delete the objects of a CustomResourceDefinition; trying again");
            context.clock.sleep(RETRY).await;
        }
    });
}

async fn clean(context: &Context, crd: &CustomResourceDefinition) -> Result<(), Status> {
    let name = crd.metadata.name.clone().unwrap_or_default();
    let going = |crd: &mut CustomResourceDefinition, now| {
        names::set_condition(
            crd,
            "Terminating",
            true,
            "InstanceDeletionInProgress",
            "CustomResource deletion is in progress",
            now,
        );
    };
    change(context, &name, "status", going).await?;
    // A definition that never got its names has no objects, and those under its names are another's.
    let served = crd.spec.versions.iter().find(|version| version.served);
    if let Some(version) =
        served.filter(|_| api::apiextensions::custom_resource_definition::is_established(crd))
    {
        let gvr = GroupVersionResource::new(
            crd.spec.group.clone(),
            version.name.clone(),
            crd.spec.names.plural.clone(),
        );
        empty(context, Target::all(gvr)).await?;
    }
    let gone = |crd: &mut CustomResourceDefinition, now| {
        let message = "removed all instances";
        names::set_condition(crd, "Terminating", false, "InstanceDeletionCompleted", message, now);
    };
    change(context, &name, "status", gone).await?;
    let release = |crd: &mut CustomResourceDefinition, _| {
        crd.metadata.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
    };
    change(context, &name, "", release).await
}

/// Deletes everything and waits until it is gone, finalizers included.
async fn empty(context: &Context, all: Target) -> Result<(), Status> {
    let (everything, options) = (ListOptions::default(), DeleteOptions::default());
    context.loopback.delete_collection(&all, &everything, &options).await?;
    loop {
        let listed = context.loopback.list(&all, &everything).await?;
        if listed.items.is_empty() {
            return Ok(());
        }
        let from = ListOptions { resource_version: Some(listed.revision.to_string()), ..everything.clone() };
        let mut events = context.loopback.watch(&all, &from).await?;
        let mut left = listed.items.len();
        while left > 0
            && let Some(event) = events.next().await
        {
            match event? {
                WatchEvent::Deleted(_) => left -= 1,
                WatchEvent::Added(_) => left += 1,
                WatchEvent::Modified(_) | WatchEvent::Bookmark { .. } => {}
            }
        }
    }
}

/// Changes a definition, again and again until nobody was faster. A definition that is gone is fine.
async fn change(
    context: &Context,
    name: &str,
    subresource: &'static str,
    make: impl Fn(&mut CustomResourceDefinition, Timestamp) + Send + Sync,
) -> Result<(), Status> {
    let now =
        Timestamp::from_second(crate::authn::service_account::now(context)).map_err(Status::internal)?;
    for _ in 0..ATTEMPTS {
        let stored = match context.loopback.get(&target(name)).await {
            Ok(stored) => stored,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut crd = stored.get::<CustomResourceDefinition>().map_err(Status::internal)?.as_ref().clone();
        make(&mut crd, now);
        let target = if subresource.is_empty() { target(name) } else { target(name).sub(subresource) };
        match context.loopback.update(&target, crd.to_json().into(), &WriteOptions::default()).await {
            Err(error) if error.is_conflict() => {}
            Err(error) if error.is_not_found() => return Ok(()),
            result => return result.map(drop),
        }
    }
    let resource = resource();
    Err(Status::stale(&resource.group_resource(), name))
}
