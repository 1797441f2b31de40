//! The node's lease in `kube-node-lease`: the cheap heartbeat (KEP-589).

use crate::kubelet::Kubelet;
use api::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use api::k8s_openapi::api::core::v1::Node;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use machinery::Status;
use std::sync::Arc;
use std::time::Duration;

const NAMESPACE: &str = "kube-node-lease";
const RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(7);

async fn owner(kubelet: &Kubelet) -> Option<OwnerReference> {
    let node = kubelet.client.all::<Node>().get(&kubelet.config.node_name).await.ok()?;
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: kubelet.config.node_name.clone(),
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

/// Renews `lease`, or makes it when there is none or the one known is stale.
async fn renew(kubelet: &Kubelet, lease: Option<Arc<Lease>>) -> Result<Arc<Lease>, Status> {
    let leases = kubelet.client.namespaced::<Lease>(NAMESPACE);
    let name = &kubelet.config.node_name;
    let now = client::time::micro_time(&*kubelet.clock);
    let known = match lease {
        Some(lease) => Some(lease),
        None => leases.get_opt(name).await?,
    };
    let mut fresh = known.as_deref().cloned().unwrap_or_default();
    fresh.spec = Some(LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(kubelet.config.node_lease_duration_seconds),
        renew_time: Some(now),
        ..fresh.spec.unwrap_or_default()
    });
    fresh.metadata.name = Some(name.clone());
    fresh.metadata.namespace = Some(NAMESPACE.to_owned());
    if fresh.metadata.owner_references.is_none() {
        fresh.metadata.owner_references = owner(kubelet).await.map(|o| vec![o]);
    }
    if known.is_some() { leases.update(&fresh).await } else { leases.create(&fresh).await }
}

/// Renews the lease four times in its life, until dropped.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let life = u64::try_from(kubelet.config.node_lease_duration_seconds.max(4)).unwrap_or(40);
    let interval = Duration::from_secs(life) / 4;
    let mut lease = None;
    let mut pause = RETRY;
    loop {
        // A link that swallows everything must not keep the next attempt waiting.
        let known = lease.take();
        let result = tokio::select! {
            result = renew(&kubelet, known) => result,
            () = kubelet.clock.sleep(interval) => Err(Status::unavailable("no answer in time")),
        };
        match result {
            Ok(renewed) => {
                lease = Some(renewed);
                pause = RETRY;
                kubelet.clock.sleep(interval).await;
            }
            Err(status) => {
                tracing::debug!("failed to renew the node's lease: {status}; trying again");
                kubelet.clock.sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY);
            }
        }
    }
}
