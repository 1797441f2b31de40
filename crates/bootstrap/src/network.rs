//! The cluster's address plan, and the address of this machine in it.

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use linux::link::{Netlink, Route};
use std::fs::File;
use std::net::Ipv4Addr;

/// Where Services have their addresses.
pub(crate) const SERVICE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
/// Where pods have theirs; each node gets a /24 of it.
pub(crate) const POD_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
/// The address of cluster DNS.
pub(crate) const DNS_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The domain of the cluster.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";

/// Name of the node when there is only one and it is this machine.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = name.chars().filter(|c| valid(*c)).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { "node-1".to_owned() } else { name }
}

/// A pair of links that lead nowhere, for machines without a network: the node needs an address that pods can
/// reach, and packets to Services need a route before they can be translated.
const OFFLINE: (&str, &str) = ("windlass0", "windlass1");
const OFFLINE_ADDRESS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 200, 0, 1), 24);
const OFFLINE_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 254);

/// The address of this machine (in the calling thread's network namespace): that of the link with the default
/// route, else the first one that is not loopback or ours. A machine without any gets a link that leads nowhere.
pub(crate) async fn node_address() -> Result<Ipv4Addr> {
    let netlink = Netlink::open().context("failed to open a netlink socket")?;
    let lo = netlink.require("lo").await?;
    netlink.set_up(lo.index).await?;
    let default = netlink.routes().await?.into_iter().find(|route| route.destination.prefix_len() == 0);
    let mut links = netlink.links().await?;
    // The link with the default route first.
    links.sort_by_key(|link| default.as_ref().is_none_or(|route| route.link != link.index));
    for link in links.iter().filter(|link| link.up && !is_ours(&link.name) && link.index != lo.index) {
        for address in netlink.addresses(link.index).await? {
            if let IpNet::V4(v4) = address
                && !v4.addr().is_loopback()
                && !v4.addr().is_link_local()
            {
                return Ok(v4.addr());
            }
        }
    }
    offline(&netlink).await
}

fn is_ours(name: &str) -> bool {
    name == network::conf::BRIDGE
        || name == network::overlay::DEVICE
        || name.starts_with("veth")
        || name == OFFLINE.1
}

async fn offline(netlink: &Netlink) -> Result<Ipv4Addr> {
    if netlink.link(OFFLINE.0).await?.is_none() {
        let own = File::open("/proc/thread-self/ns/net").context("failed to open this network namespace")?;
        netlink.add_veth(OFFLINE.0, OFFLINE.1, &own, 1500).await?;
    }
    for name in [OFFLINE.1, OFFLINE.0] {
        netlink.set_up(netlink.require(name).await?.index).await?;
    }
    let link = netlink.require(OFFLINE.0).await?.index;
    netlink.ensure_address(link, IpNet::V4(OFFLINE_ADDRESS)).await?;
    if !netlink.routes().await?.iter().any(|route| route.destination.prefix_len() == 0) {
        let gateway = Some(OFFLINE_GATEWAY);
        netlink
            .ensure_route(&Route { destination: Ipv4Net::default(), gateway, link, onlink: false })
            .await?;
    }
    Ok(OFFLINE_ADDRESS.addr())
}

/// Removes the links that a node made in the calling thread's network namespace.
pub(crate) async fn remove_links() -> Result<()> {
    let netlink = Netlink::open().context("failed to open a netlink socket")?;
    for name in [network::conf::BRIDGE, network::overlay::DEVICE, OFFLINE.0] {
        netlink.delete_by_name(name).await?;
    }
    Ok(())
}
