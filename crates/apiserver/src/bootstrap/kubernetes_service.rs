//! The `kubernetes` Service in `default`, through which pods reach the API, and its endpoints: this server.
//!
//! Deliberately absent: several API servers (leases of the apiservers in kube-system).

use super::{ensure as ensure_object, target};
use crate::contract::Context;
use api::transport::{ListOptions, Target, WriteOptions};
use futures::StreamExt;
use machinery::Status;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

const NAME: &str = "kubernetes";

/// The first address of the service range.
fn cluster_ip(context: &Context) -> Ipv4Addr {
    let (network, _) = context.config.service_cidr;
    Ipv4Addr::from(u32::from(network).saturating_add(1))
}

/// Creates the Service and writes the endpoints as they should be.
pub(super) async fn ensure(context: &Context) -> Result<(), Status> {
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
    endpoints(context).await
}

async fn endpoints(context: &Context) -> Result<(), Status> {
    if context.config.advertise.ip().is_loopback() {
        // Pods have a loopback of their own, and the API refuses such an endpoint.
        tracing::info!("the advertised address is loopback: pods cannot reach the API through its Service");
        return Ok(());
    }
    let address = context.config.advertise.ip().to_string();
    let port = context.config.advertise.port();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    write(context, target("", "v1", "endpoints").in_namespace("default"), &endpoints).await?;
    let family = if context.config.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
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

/// Writes Service and endpoints again whenever someone deletes or changes them.
pub(super) fn keep(context: &Context) {
    let context = context.clone();
    let tasks = context.tasks.clone();
    tasks.spawn_until_stopped("kubernetes service", async move {
        loop {
            if let Err(error) = follow(&context).await {
                tracing::debug!(%error, "the watch of the kubernetes service ended");
            }
            context.clock.sleep(Duration::from_secs(1)).await;
        }
    });
}

async fn follow(context: &Context) -> Result<(), Status> {
    let only =
        ListOptions { field_selector: Some(format!("metadata.name={NAME}")), ..ListOptions::default() };
    let in_default = |target: Target| target.in_namespace("default");
    let services = context.loopback.watch(&in_default(target("", "v1", "services")), &only).await?;
    let endpoints = context.loopback.watch(&in_default(target("", "v1", "endpoints")), &only).await?;
    let slices = in_default(target("discovery.k8s.io", "v1", "endpointslices"));
    let slices = context.loopback.watch(&slices, &only).await?;
    let mut events = futures::stream::select_all([services, endpoints, slices]);
    while let Some(event) = events.next().await {
        event?;
        ensure(context).await?;
    }
    Ok(())
}
