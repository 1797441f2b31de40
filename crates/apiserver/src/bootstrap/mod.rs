//! The objects that every cluster has from its first second: namespaces, priority classes, the service range, the
//! `kubernetes` Service and its endpoints.
//!
//! RBAC's first objects are in `authz/bootstrap`.

mod api_servers;
mod kubernetes_service;

use crate::contract::Context;
use api::transport::{Target, WriteOptions};
use machinery::{GroupVersionResource, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use store::Store;

pub(crate) use api_servers::ApiServers;

/// Creates an object unless there is one of its name.
async fn ensure(context: &Context, target: Target, object: &Value) -> Result<(), Status> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    match context.loopback.get(&target.clone().named(name)).await {
        Ok(_) => return Ok(()),
        Err(status) if status.is_not_found() => {}
        Err(status) => return Err(status),
    }
    let body = object.to_string().into();
    match context.loopback.create(&target, body, &WriteOptions::default()).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

fn target(group: &'static str, version: &'static str, resource: &'static str) -> Target {
    Target::all(GroupVersionResource::new(group, version, resource))
}

/// Creates what is missing, and makes this server known.
pub(crate) async fn objects(context: &Context, store: Arc<dyn Store>) -> Result<Arc<ApiServers>, Status> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(context, target("", "v1", "namespaces"), &namespace).await?;
    }
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    for (name, value, description) in classes {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description});
        ensure(context, target("scheduling.k8s.io", "v1", "priorityclasses"), &class).await?;
    }
    let (network, bits) = context.config.service_cidr;
    let cidr = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [format!("{network}/{bits}")]}});
    ensure(context, target("networking.k8s.io", "v1", "servicecidrs"), &cidr).await?;
    let servers = Arc::new(ApiServers::register(context, store).await?);
    kubernetes_service::ensure(context, &servers).await?;
    Ok(servers)
}

/// Keeps true over time what [`objects`] made.
pub(crate) fn keep(context: &Context, servers: &Arc<ApiServers>) {
    servers.keep(context);
    kubernetes_service::keep(context, servers);
}
