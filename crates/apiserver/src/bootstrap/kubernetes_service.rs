//! The `kubernetes` Service in `default`, through which pods reach the API, and its endpoints: all API servers that
//! live.

use super::api_servers::ApiServers;
use super::{ensure as ensure_object, target};
use crate::contract::Context;
use crate::storage;
use api::transport::{ListOptions, Target, WriteOptions};
use futures::StreamExt;
use machinery::Status;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "kubernetes";

/// The first address of the service range.
fn cluster_ip(context: &Context) -> Ipv4Addr {
    let (network, _) = context.config.service_cidr;
    Ipv4Addr::from(u32::from(network).saturating_add(1))
}

/// Creates the Service and writes the endpoints as they should be.
pub(super) async fn ensure(context: &Context, servers: &ApiServers) -> Result<(), Status> {
    let port = context.config.advertise.port();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip(context).to_string(),
            "clusterIPs": [cluster_ip(context).to_string()],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    ensure_object(context, target("", "v1", "services").in_namespace("default"), &service).await?;
    endpoints(context, servers).await
}

/// Writes the endpoints as they should be.
pub(super) async fn endpoints(context: &Context, servers: &ApiServers) -> Result<(), Status> {
    if context.config.advertise.ip().is_loopback() {
        // Pods have a loopback of their own, and the API refuses such an endpoint.
        tracing::info!("the advertised address is loopback: pods cannot reach the API through its Service");
        return Ok(());
    }
    let living = servers.living().await?;
    if living.is_empty() {
        // The last one leaves: whoever comes next writes them.
        return Ok(());
    }
    let addresses: Vec<Value> = living.iter().map(|address| json!({"ip": address})).collect();
    let ready = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
    let ready: Vec<Value> = living.iter().map(ready).collect();
    let port = context.config.advertise.port();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    write(context, target("", "v1", "endpoints").in_namespace("default"), &endpoints).await?;
    let family = if context.config.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family,
        "endpoints": ready,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    write(context, target("discovery.k8s.io", "v1", "endpointslices").in_namespace("default"), &slice).await
}

/// Creates the object, or replaces one that differs; writes that change nothing are not stored.
async fn write(context: &Context, target: Target, object: &Value) -> Result<(), Status> {
    let options = WriteOptions::default();
    match context.loopback.create(&target, object.to_string().into(), &options).await {
        Err(status) if status.is_already_exists() => {}
        other => return other.map(|_| ()),
    }
    context.loopback.update(&target.named(NAME), object.to_string().into(), &options).await.map(|_| ())
}

/// Writes Service and endpoints again whenever someone deletes or changes them, and when API servers come and go.
pub(super) fn keep(context: &Context, servers: &Arc<ApiServers>) {
    let (context, servers) = (context.clone(), servers.clone());
    let tasks = context.tasks.clone();
    tasks.spawn_until_stopped("kubernetes service", async move {
        loop {
            if let Err(error) = follow(&context, &servers).await {
                tracing::debug!(%error, "the watch of the kubernetes service ended");
            }
            context.clock.sleep(Duration::from_secs(1)).await;
        }
    });
}

async fn follow(context: &Context, servers: &ApiServers) -> Result<(), Status> {
    let only =
        ListOptions { field_selector: Some(format!("metadata.name={NAME}")), ..ListOptions::default() };
    let in_default = |target: Target| target.in_namespace("default");
    let services = context.loopback.watch(&in_default(target("", "v1", "services")), &only).await?;
    let endpoints = context.loopback.watch(&in_default(target("", "v1", "endpoints")), &only).await?;
    let slices = in_default(target("discovery.k8s.io", "v1", "endpointslices"));
    let slices = context.loopback.watch(&slices, &only).await?;
    let mut events = futures::stream::select_all([services, endpoints, slices]);
    let mut changes = servers.changes().await?;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => drop(event?),
                None => return Ok(()),
            },
            change = changes.next() => match change {
                Some(change) => drop(change.map_err(|error| storage::status(&error))?),
                None => return Ok(()),
            },
        }
        ensure(context, servers).await?;
    }
}
