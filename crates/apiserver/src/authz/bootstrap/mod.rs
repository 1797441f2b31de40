//! The default roles and bindings, brought into the store when the server starts.
//!
//! Rules and subjects that are missing from a default object are added again unless it says
//! `rbac.authorization.kubernetes.io/autoupdate: "false"`; what administrators added stays (RBAC documentation,
//! "Auto-reconciliation"). Deliberately absent: removing anything.

mod controllers;
mod objects;
mod plan;
pub mod table;

pub use objects::node_rules;

use crate::contract::Context;
use api::Kind;
use api::transport::{DeleteOptions, ListOptions, Target, WriteOptions};
use futures::{StreamExt, TryStreamExt, stream};
use machinery::{GroupVersionResource, Status};
use plan::Step;
use std::collections::HashMap;

/// Writes at once. Commits are grouped by the store, so this many share one fsync.
const PARALLEL: usize = 32;

/// Brings the defaults into the store. The namespaces `kube-system` and `kube-public` must exist.
pub async fn reconcile(context: &Context) -> Result<(), Status> {
    let wanted = objects::all();
    // Roles first: a binding to a role that does not exist yet could not be checked.
    apply(context, wanted.cluster_roles).await?;
    apply(context, wanted.roles).await?;
    apply(context, wanted.cluster_role_bindings).await?;
    apply(context, wanted.role_bindings).await
}

async fn apply<K: plan::Default>(context: &Context, wanted: Vec<K>) -> Result<(), Status> {
    let all = Target::all(GroupVersionResource::new(K::GROUP, K::VERSION, K::PLURAL));
    let listed = context.loopback.list(&all, &ListOptions::default()).await?;
    let mut known = HashMap::new();
    for item in &listed.items {
        let meta = item.meta();
        let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        known.insert(key, item.get::<K>().map_err(Status::internal)?);
    }
    let steps: Vec<Step<K>> = wanted
        .into_iter()
        .filter_map(|wanted| {
            let meta = wanted.meta();
            let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
            wanted.plan(known.get(&key).map(|known| known.as_ref()))
        })
        .collect();
    stream::iter(steps)
        .map(|step| execute(context, &all, step))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await
}

async fn execute<K: Kind>(context: &Context, all: &Target, step: Step<K>) -> Result<(), Status> {
    let options = WriteOptions::default();
    let target = |object: &K| {
        let target = all.clone().in_namespace(object.meta().namespace.as_deref().unwrap_or_default());
        (target.clone(), target.named(object.meta().name.as_deref().unwrap_or_default()))
    };
    match step {
        Step::Create(object) => create(context, &target(&object).0, &object, &options).await,
        Step::Update(object) => {
            let (_, target) = target(&object);
            match context.loopback.update(&target, object.to_json().into(), &options).await {
                // Another server of the same cluster was faster; it wanted the same.
                Err(error) if error.is_conflict() => Ok(()),
                result => result.map(drop),
            }
        }
        Step::Recreate(object) => {
            let (collection, target) = target(&object);
            match context.loopback.delete(&target, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            create(context, &collection, &object, &options).await
        }
    }
}

async fn create<K: Kind>(
    context: &Context,
    target: &Target,
    object: &K,
    options: &WriteOptions,
) -> Result<(), Status> {
    match context.loopback.create(target, object.to_json().into(), options).await {
        Err(error) if error.is_already_exists() => Ok(()),
        result => result.map(drop),
    }
}
