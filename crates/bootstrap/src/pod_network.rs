//! Joins a node to the pod network: watches Nodes, writes the CNI configuration once this node has its range,
//! and keeps the routes to the others.

use crate::layout::NodeLayout;
use crate::network::POD_CIDR;
use crate::node::NodeSettings;
use client::{Client, Informer, Selection};
use component::{SharedClock, Tasks};
use k8s_openapi::api::core::v1::Node;
use network::conf::PodNetwork;
use network::overlay::{Overlay, Peer};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long after a failure the network is tried again, unless a Node changes before.
const RETRY: Duration = Duration::from_secs(5);

/// Starts to follow Nodes until `tasks` stop.
pub(crate) fn start(node: &NodeSettings, client: Client, clock: SharedClock, tasks: &Tasks) {
    let nodes: Informer<Node> = Informer::start(&client, &Selection::default(), clock.clone(), tasks);
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    nodes.on_event(move |_| notify.notify_one());
    let node = node.clone();
    tasks.spawn_until_stopped("pod network", async move {
        let mut overlay = None;
        loop {
            let next = changed.notified();
            if let Err(error) = sync(&node, &nodes, &mut overlay).await {
                tracing::warn!("failed to set up the pod network: {error}; trying again");
                tokio::select! {
                    () = next => {}
                    () = clock.sleep(RETRY) => {}
                }
            } else {
                next.await;
            }
        }
    });
}

fn internal_address(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP")?.address.parse().ok()
}

fn peer(node: &Node) -> Option<Peer> {
    let pod_cidr = node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?;
    Some(Peer { address: internal_address(node)?, pod_cidr })
}

async fn sync(
    node: &NodeSettings,
    nodes: &Informer<Node>,
    overlay: &mut Option<(Overlay, u32)>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let all = nodes.store().list();
    let own = all.iter().find(|other| other.metadata.name.as_deref() == Some(&node.name));
    let Some(pod_cidr) = own.and_then(|own| own.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()) else {
        return Ok(());
    };
    if overlay.is_none() {
        *overlay = Some(Overlay::start(node.address).await?);
    }
    let Some((overlay, mtu)) = overlay else { return Ok(()) };
    let masquerade = network::overlay::masquerade(pod_cidr, POD_CIDR);
    let (layout, mtu): (NodeLayout, u32) = (node.layout.clone(), *mtu);
    tokio::task::spawn_blocking(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        linux::nft::apply(&masquerade)?;
        PodNetwork { pod_cidr, mtu }.write(&layout.cni_conf(), &layout.cni_state())?;
        Ok(())
    })
    .await??;
    let peers: Vec<Peer> = all.iter().filter_map(|node| peer(node)).collect();
    overlay.sync(&peers, mtu).await?;
    Ok(())
}
